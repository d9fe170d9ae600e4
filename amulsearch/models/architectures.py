"""Building networks, renaming the tensors of foreign checkpoints, and records for all of torchvision and timm.

torch, torchvision and timm are imported inside the functions, so that the table of models is read without them.
"""

import importlib
import importlib.util
import re
from functools import lru_cache, partial
from pathlib import Path
from threading import RLock

import numpy as np

from ..errors import ModelError
from .model import Model
from .preprocess import Preprocess
from .weights import Downloaded, HuggingFace

LOADING = RLock()
"""Held while a library of networks or a network is loaded: two threads that do so at once get in each other's way."""


def import_torchvision():
    """Import torchvision, even if its compiled part was made for another build of torch.

    In that case `import torchvision` fails with "operator torchvision::nms does not exist", although networks, weights
    and transforms need none of its operators. Declaring the two operators that it looks for makes the rest work.
    """
    with LOADING:
        return _torchvision()


@lru_cache(maxsize=1)
def _torchvision():
    import torch

    folder = Path(importlib.util.find_spec("torchvision").origin).parent
    compiled = [path for path in folder.glob("_C*") if path.suffix in (".so", ".pyd")]
    try:
        torch.ops.load_library(str(compiled[0]))
    except (IndexError, OSError):
        library = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _torchvision.library = library  # the declarations live as long as this object
    return importlib.import_module("torchvision")


@lru_cache(maxsize=1)
def import_timm():
    """Import timm, which needs torchvision."""
    import_torchvision()
    return importlib.import_module("timm")


def build_torchvision(name: str):
    """Build a torchvision network with random weights."""
    # These two convert ImageNet's normalisation to their own, as torchvision does for its weights.
    special = {"transform_input": True, "init_weights": False} if name in ("inception_v3", "googlenet") else {}
    return import_torchvision().models.get_model(name, weights=None, **special)


def build_timm(name: str, size: int | None = None):
    """Build a timm network with random weights, for its usual size of input or for another one."""
    return import_timm().create_model(name, pretrained=False, **_options(name, size))


def _options(name: str, size: int | None) -> dict:
    """What timm leaves to the caller: the size, and the class token with which the authors of these two pool."""
    token = any(family in name.partition(".")[0] for family in ("dinov3", "sapiens2"))
    return {**({} if size is None else {"img_size": size}), **({"global_pool": "token"} if token else {})}


def denselayer_names(state: dict, target: dict) -> dict:
    """Rename the layers of a DenseNet saved when module names could contain dots: `norm.1` is now `norm1`."""
    return {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.(\d)", r"\1\2", name): value for name, value in state.items()}


def timm_names(name: str, state: dict, target: dict, size: int | None = None) -> dict:
    """Convert a checkpoint as timm's own loader does, unless its names and shapes are those of the module already.

    Some files have the names of an earlier version; for another size of input, position embeddings are interpolated.
    """
    if {key: value.shape for key, value in state.items()} == {key: value.shape for key, value in target.items()}:
        return state
    how = {"pretrained_cfg_overlay": {"state_dict": state, "custom_load": False}, **_options(name, size)}
    return import_timm().create_model(name, pretrained=True, **how).state_dict()


def by_position(state: dict, target: dict) -> dict:
    """Give the tensors, which come in the same order, the names of the module."""
    return dict(zip(target, state.values(), strict=True))


def keras_squeezenet(state: dict, target: dict) -> dict:
    """Convert Keras layers `[kernel (H, W, I, O), bias]` to torchvision's names, with kernels as (O, I, H, W)."""
    import torch

    names = {"conv1": "features.0", "conv10": "classifier.1"}
    for fire, position in enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2):
        for keras, torchvision in (("squeeze1x1", "squeeze"), ("expand1x1", "expand1x1"), ("expand3x3", "expand3x3")):
            names[f"fire{fire}/{keras}"] = f"features.{position}.{torchvision}"
    renamed = {}
    for name, (kernel, bias) in state.items():
        renamed[f"{names[name]}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
        renamed[f"{names[name]}.bias"] = torch.from_numpy(np.array(bias))
    return renamed


def torchvision_names() -> list[str]:
    """The classifiers of torchvision."""
    models = import_torchvision().models
    return models.list_models(module=models)


def torchvision_record(name: str) -> Model | None:
    """Make the record of a torchvision classifier, `NAME` or `NAME.WEIGHTS`; None for an unknown name."""
    architecture, dot, tag = name.partition(".")
    if architecture not in torchvision_names():
        return None
    choices = import_torchvision().models.get_model_weights(architecture)
    tag = tag if dot else "IMAGENET1K_V1"
    if tag not in choices.__members__ or tag == "DEFAULT":  # the meaning of DEFAULT changes between versions
        names = ", ".join(choice.name for choice in choices)
        how = f"write {architecture}.NAME, where NAME is one of {names}"
        raise ModelError(f"{architecture} has no weights {tag}: {how}")
    weights = choices[tag]
    transform = weights.transforms()
    size, resize = transform.crop_size[0], transform.resize_size[0]
    return Model(
        name,
        partial(build_torchvision, architecture),
        Downloaded(weights.url),
        Preprocess.scaled(
            size, transform.mean, transform.std, interpolation=transform.interpolation.value, crop_pct=size / resize
        ),
        classes=len(weights.meta["categories"]),
        rename=denselayer_names,
        licence="BSD-3-Clause",
    )


def timm_record(name: str) -> Model | None:
    """Make the record of a timm network, `NAME` or `NAME.WEIGHTS` without "timm/"; None for an unknown name."""
    timm = import_timm()
    if name.partition(".")[0] not in timm.list_models():
        return None
    try:
        config = timm.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError:  # the part after the dot is unknown
        config = None
    if config is None or not config.hf_hub_id:
        raise ModelError(f"timm has no weights for {name} on the hub: choose another one of timm.list_pretrained()")
    if config.input_size[-1] != config.input_size[-2]:
        raise ModelError(f"timm's {name} takes pictures that are not square: choose another network")
    data = timm.data.resolve_data_config(pretrained_cfg=config.to_dict(), model=None)
    return Model(
        f"timm/{name}",
        partial(build_timm, name),
        HuggingFace(config.hf_hub_id),
        Preprocess.scaled(
            *(data["input_size"][-1], data["mean"], data["std"]),
            interpolation=data["interpolation"],
            crop_pct=data["crop_pct"],
        ),
        classes=config.num_classes,
        head=config.classifier if isinstance(config.classifier, str) else None,
        rename=partial(timm_names, name),
        fixed_size=config.fixed_input_size,
        licence=config.license or "not known",
    )
