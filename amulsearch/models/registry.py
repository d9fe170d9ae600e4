"""Records by name: of the networks in the table, of all others, and of your own module.

Importing this module needs neither torch nor torchvision.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pandas as pd

from ..errors import ModelError, QueryError, first_line
from ..intake import did_you_mean
from .architectures import keras_squeezenet, other_names, timm_record, torchvision_record
from .facts import FACTS
from .identity import identify
from .preprocess import OwnTransform, Preprocess
from .record import Model
from .records import GROUPS, INNER, TABLE, for_size
from .towers import PREFIX, tower_record
from .weights import InMemory, OwnFile


def main_layers(model: str | Model) -> list[str]:
    """Return the layers that `extract` computes if none are named.

    Parameters
    ----------
    model : str or Model
        A name, see `get`, or a record, see `own`.

    Returns
    -------
    list of str
        The logits and the penultimate layer. A network without classes has no logits.

    Raises
    ------
    ModelError
        If the model is unknown.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.main_layers("alexnet"), am.models.main_layers("dinov2_small")
    (['logits', 'penultimate'], ['penultimate'])
    """
    record = get(model)
    return ["penultimate"] if record.classes == 0 else ["logits", "penultimate"]


def standard_layers(model: str | Model) -> list[str]:
    """Return the layers that most questions need; one pass of the network gives all of them.

    Parameters
    ----------
    model : str or Model
        A name, see `get`, or a record, see `own`.

    Returns
    -------
    list of str
        Those of `main_layers` and the last feature map, GeM-pooled; for a network in the table also its inner layer,
        see `preset`.

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
    inner = [INNER[record.name]] if TABLE.get(record.name) == record else []
    return [*main_layers(record), "last:gem", *inner]


def reads_words(model: str | Model) -> bool:
    """Whether a network has a text tower.

    Parameters
    ----------
    model : str or Model

    Returns
    -------
    bool
    """
    return str(getattr(model, "name", model)).startswith(PREFIX)


def classifiers(models: str | Model | tuple | list) -> list[str]:
    """Return the names of those models that know the 1,000 classes of ImageNet, see `categories`.

    Parameters
    ----------
    models : str, Model or sequence of these
        As `names_of` takes them.

    Returns
    -------
    list of str
        At least one.

    Raises
    ------
    ModelError
        For an unknown name.
    QueryError
        If there is none.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.classifiers("modern")
    ['convnext_tiny_22k', 'eva02_tiny']
    """
    records = get_all(models)
    found = [record.name for record in records if record.classes == 1000]
    if not found:
        names = ", ".join(record.name for record in records) or "the list"
        raise QueryError(f"classes of ImageNet are needed, which none of {names} has: add a network such as resnet18")
    return found


def names_of(models: str | Model | tuple | list) -> list[str | Model]:
    """Expand groups and comma-separated names to a list of models.

    Parameters
    ----------
    models : str, Model or sequence of these
        "bundled", "blog" and "modern" are groups, see `GROUPS`; a string may hold several names, separated by commas.

    Returns
    -------
    list of str or Model
        Without repetitions. Whether there is such a network is not checked; `get` does that.

    Raises
    ------
    ModelError
        For what is neither a name nor a Model.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.names_of("bundled, alexnet")[-2:]
    ['tf_efficientnet_lite2', 'alexnet']
    """
    parts = models.split(",") if isinstance(models, str) else [models] if isinstance(models, Model) else models
    if not isinstance(parts, Iterable) or isinstance(parts, bytes):
        raise ModelError(f"models must be names or Models, not {type(models).__name__}")
    names = []
    for part in parts:
        if not isinstance(part, (str, Model)):
            raise ModelError(f"a model must be a name (a string) or a Model, not {type(part).__name__}")
        part = part.strip() if isinstance(part, str) else part
        names += GROUPS.get(part, [part]) if isinstance(part, str) else [part]
    return list(dict.fromkeys(name for name in names if name))


def get_all(models: str | Model | tuple | list) -> list[Model]:
    """Return the records of several models.

    Parameters
    ----------
    models : str, Model or sequence of these
        As for `names_of`.

    Returns
    -------
    list of Model
        Without repetitions; their names differ.

    Raises
    ------
    ModelError
        For an unknown model, and for two different ones of one name.
    """
    records = list(dict.fromkeys(get(name) for name in names_of(models)))
    names = [record.name for record in records]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelError(f"two different models have the name {twice[0]}: give each a name of its own")
    return records


def get(name: str | Model, weights: str | Path | None = None) -> Model:
    """Return the record of a model by its name.

    Parameters
    ----------
    name : str or Model
        A network of `TABLE`; any other torchvision classifier, such as "resnet18" (weights IMAGENET1K_V1) or
        "resnet50.IMAGENET1K_V2" (other weights, after a dot); or any network of timm, such as
        "timm/mobilenetv3_small_100.lamb_in1k" or "timm/vit_base_patch32_clip_224.openai". A name may end in a view, for
        which the network gets mirrored pictures ("@mirror") or pictures of another size ("@320", 320 x 320 pixels), see
        `transforms.average`. A Model is returned unchanged.
    weights : path, optional
        Your own checkpoint for this architecture (a state dict, .pth or .safetensors), instead of the usual weights.
        Its names may begin with "module." or "model.", it may lie in a dict with other things, and its classifier may
        have another number of classes.

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
    if not isinstance(name, (str, Model)):
        raise ModelError(f"a model must be a name (a string) or a Model, not {type(name).__name__}")
    if isinstance(name, str) and "@" in name:
        base, _, view = name.rpartition("@")
        return _seen(get(base, weights), view)
    model = name if isinstance(name, Model) else TABLE.get(name) or _other(name)
    if weights is None:
        return model
    if not isinstance(weights, (str, os.PathLike)):
        what = type(weights).__name__
        raise ModelError(f"{model.name}: weights= must be the path of a checkpoint of a network, not {what}")
    # The bundled SqueezeNet comes from Keras; the user's checkpoint is assumed to be trained as in torchvision.
    preprocess = Preprocess() if model.rename is keras_squeezenet else model.preprocess
    rename = model.rename if model.fixed_size else None  # which interpolates position embeddings
    own, classes = OwnFile(os.fspath(weights)), 0 if model.classes == 0 else None  # perhaps not those of ImageNet
    more = {"licence": "not known", "source": str(weights)}
    return replace(model, weights=own, preprocess=preprocess, rename=rename, classes=classes, **more)


def _seen(model: Model, view: str) -> Model:
    """Return the record with mirrored pictures, or with pictures of another size."""
    if isinstance(model.preprocess, OwnTransform):
        raise ModelError(f"{model.name} has its own transform and therefore no views: leave out @{view}")
    if view == "mirror":
        model = replace(
            model, preprocess=replace(model.preprocess, mirror=not model.preprocess.mirror), name=f"{model.name}@{view}"
        )
    elif reads_words(model):
        raise ModelError(f"{model.name} takes pictures of one size only: use @mirror, or leave out @{view}")
    elif view.isdecimal() and 32 <= int(view) <= 2048:
        model = replace(for_size(model, int(view)), name=f"{model.name}@{view}")
    else:
        raise ModelError(f"{model.name} has no view @{view}: use @mirror, or @ and a size of 32 to 2048 pixels")
    return model


def own(
    name: str,
    module,
    preprocess: Preprocess | Callable | None = None,
    *,
    head: str | None = None,
    feature_map: str | None = None,
    version: str | int | None = None,
) -> Model:
    """Make the record of your own network.

    A network and a transform that consist of classes of torch, torchvision and timm are known by these, their settings
    and their weights. What code of your own does is not known: a class with its own `forward`, a function, a lambda, a
    method. It works without a store; a store, which would give its vectors in later runs too, needs its version.

    Parameters
    ----------
    name : str
        Any name that no network in `TABLE` and no group has.
    module : torch.nn.Module
        Maps (B, 3, H, W) float32 to (B, classes), or to (B, D) without a classifier if its attribute `num_classes` is
        0, as timm's networks have it. The record keeps a copy: training the module further does not
        change it.
    preprocess : Preprocess or callable, optional
        By default ImageNet's preprocessing. A callable maps an RGB PIL image to a (3, H, W) tensor.
    head, feature_map : str, optional
        Names of inner modules, see `Model`; found automatically in most networks.
    version : str or int, optional
        Of your own code, in `module` and in `preprocess`: give another one whenever the code changes.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        If the name is taken, or the module, the preprocessing or the name of an inner module cannot be used.

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
    _check_own(name, module, preprocess, {"head": head, "feature_map": feature_map}, version)
    try:
        module = copy.deepcopy(module).eval()
        weights = InMemory(*identify(module, version))
        if not isinstance(preprocess := Preprocess() if preprocess is None else preprocess, Preprocess):
            preprocess = OwnTransform(preprocess, *identify(preprocess, version))
    except Exception as error:  # of the module's own code, of weights without numbers
        raise ModelError(f"{name}: the module or the transform cannot be read: {first_line(error)}") from None
    return Model(
        name,
        lambda: copy.deepcopy(module),
        weights,
        preprocess,
        classes=0 if getattr(module, "num_classes", None) == 0 else None,
        head=head,
        feature_map=feature_map,
        source="your own module",
    )


def _check_own(name, module, preprocess, inner: dict, version) -> None:
    """Check what `own` was given; inner: the names of modules by their arguments."""
    from torch.nn import Module

    if not isinstance(name, str) or not name.strip():
        raise ModelError(f"the name of a network must be a string, not {name!r}")
    if name in TABLE or name in GROUPS:
        raise ModelError(f"{name} is the name of a network in the table or of a group: choose another name")
    if not isinstance(module, Module):
        what = f"the class {module.__name__}" if isinstance(module, type) else type(module).__name__
        raise ModelError(f"{name}: the module must be a torch.nn.Module, such as MyNetwork(), not {what}")
    if not (preprocess is None or type(preprocess) is Preprocess or callable(preprocess)):
        what = type(preprocess).__name__
        raise ModelError(f"{name}: preprocess must be a Preprocess or a function of a PIL image, not {what}")
    names = [of for of, _ in module.named_modules() if of]
    for argument, value in inner.items():
        if value is not None and value not in names:
            raise ModelError(f"{name} has no module {value!r} for {argument}=: use one such as {', '.join(names[-8:])}")
    if version is not None and (not isinstance(version, (str, int)) or version == ""):
        raise ModelError(f"{name}: version must be a string or an integer, not {version!r}")


def table() -> pd.DataFrame:
    """List the networks in the table.

    Returns
    -------
    DataFrame with 14 rows
        Columns: name, group ("bundled", "blog" or "modern"), ready (whether the weights are on this machine),
        MB (size of the file), input (side of the input, in pixels), penultimate (width of that layer), ImageNet
        (top-1 accuracy in percent, as torchvision states it), ms (processor time of the network alone for a picture),
        P@5 and mAP (of the penultimate layer on the bundled cartoons), licence, weights (where they come from), file.
        NaN where there is no such number, see `benchmarks/networks.py`.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.table()[["name", "group", "input", "penultimate"]].tail(3)
                name   group  input  penultimate
    11  dinov2_small  modern    224          384
    12  dinov3_small  modern    256          384
    13   siglip_base  modern    224          768
    """
    rows = [
        {
            "name": model.name,
            "group": next(group for group, names in GROUPS.items() if model.name in names),
            "ready": model.ready,
            "MB": FACTS[model.name].MB,
            "input": model.preprocess.size,
            "penultimate": model.penultimate,
            "ImageNet": FACTS[model.name].ImageNet,
            "ms": FACTS[model.name].ms,
            "P@5": FACTS[model.name].P5,
            "mAP": FACTS[model.name].mAP,
            "licence": model.licence,
            "weights": model.source,
            "file": Path(model.weights.file).name,
        }
        for model in TABLE.values()
    ]
    return pd.DataFrame(rows)


def ready() -> list[str]:
    """List the networks in the table whose weights are on this machine.

    Returns
    -------
    list of str
        Their names.
    """
    return [model.name for model in TABLE.values() if model.ready]


def _other(name: str) -> Model:
    """Return the record of a torchvision or timm network that is not in the table."""
    if name in GROUPS:
        raise ModelError(f"{name} is a group of models: use one of {', '.join(GROUPS[name])}")
    if name.startswith(PREFIX):
        return tower_record(name.removeprefix(PREFIX))
    found = timm_record(name.removeprefix("timm/")) if name.startswith("timm/") else torchvision_record(name)
    if found is None:
        meant = did_you_mean(name, [*TABLE, *GROUPS, *other_names()])
        raise ModelError(
            f"there is no network {name!r}{meant}: use one of {', '.join(TABLE)}, a torchvision classifier (resnet18), "
            "or a timm network, prefixed with timm/ (timm/mobilenetv3_small_100)"
        )
    return found
