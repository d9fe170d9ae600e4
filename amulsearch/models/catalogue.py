"""Every network by its name: `get` gives the record of one, `table` lists those that have a name of their own.

Importing this module needs neither torch nor torchvision.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from ..errors import ModelError, QueryError
from ..intake import did_you_mean
from .architectures import other_names, timm_record, torchvision_record
from .model import Model
from .network_table import GROUPS, INNER, MEASURED, MEASURES, TABLE, for_size
from .preprocess import OwnTransform
from .text_towers import PREFIX, tower_record


def get(name: str | Model) -> Model:
    """Return the record of a model by its name.

    Parameters
    ----------
    name : str or Model
        A network of `TABLE`; any other torchvision classifier, such as "resnet18" (weights IMAGENET1K_V1) or
        "resnet50.IMAGENET1K_V2" (other weights, after a dot); or any network of timm, such as
        "timm/mobilenetv3_small_100.lamb_in1k" or "timm/vit_base_patch32_clip_224.openai". A name may end in a view, for
        which the network gets mirrored pictures ("@mirror") or pictures of another size ("@320", 320 x 320 pixels), see
        `transforms.average`. A Model is returned unchanged.

    Returns
    -------
    Model

    Raises
    ------
    ModelError
        For an unknown name or view.

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
    return name if isinstance(name, Model) else _named(name)


@cache  # so that one name gives equal records, and a network is loaded once
def _named(name: str) -> Model:
    if "@" in name:
        base, _, view = name.rpartition("@")
        return _view(_named(base), view)
    return TABLE.get(name) or _other(name)


def _view(model: Model, view: str) -> Model:
    """The record with mirrored pictures, or with pictures of another size."""
    if isinstance(model.preprocess, OwnTransform):
        raise ModelError(f"{model.name} has its own transform and therefore no views: leave out @{view}")
    if view == "mirror":
        preprocess = replace(model.preprocess, mirror=not model.preprocess.mirror)
        model = replace(model, preprocess=preprocess)
    elif reads_words(model):
        raise ModelError(f"{model.name} takes pictures of one size only: use @mirror, or leave out @{view}")
    elif view.isdecimal() and 32 <= int(view) <= 2048:
        model = for_size(model, int(view))
    else:
        raise ModelError(f"{model.name} has no view @{view}: use @mirror, or @ and a size of 32 to 2048 pixels")
    return replace(model, name=f"{model.name}@{view}")


def _other(name: str) -> Model:
    """The record of a network that is not in the table."""
    if name in GROUPS:
        raise ModelError(f"{name} is a group of models: use one of {', '.join(GROUPS[name])}")
    if name.startswith(PREFIX):
        return tower_record(name.removeprefix(PREFIX))
    record = timm_record(name.removeprefix("timm/")) if name.startswith("timm/") else torchvision_record(name)
    if record is None:
        meant = did_you_mean(name, [*TABLE, *GROUPS, *other_names()])
        raise ModelError(
            f"there is no network {name!r}{meant}: use one of {', '.join(TABLE)}, a torchvision classifier (resnet18), "
            "or a timm network, prefixed with timm/ (timm/mobilenetv3_small_100)"
        )
    return record


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
    names = [record.name for record in records if record.classes == 1000]
    if not names:
        without = ", ".join(record.name for record in records) or "the list"
        raise QueryError(f"classes of ImageNet are needed, which none of {without} has: add a network such as resnet18")
    return names


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
    return ["penultimate"] if get(model).classes == 0 else ["logits", "penultimate"]


def standard_layers(model: str | Model) -> list[str]:
    """The layers that most questions need: `main_layers`, the last map by GeM, and the inner layer of the table."""
    record = get(model)
    inner = [INNER[record.name]] if TABLE.get(record.name) == record else []
    return [*main_layers(record), "last:gem", *inner]


def reads_words(model: str | Model) -> bool:
    """Whether a network has a text tower."""
    return str(getattr(model, "name", model)).startswith(PREFIX)


def table() -> pd.DataFrame:
    """List the networks in the table.

    Returns
    -------
    DataFrame with 14 rows
        Columns: name, group ("bundled", "blog" or "modern"), ready (whether the weights are on this machine),
        MB (size of the file), input (side of the input, in pixels), penultimate (width of that layer), ImageNet
        (top-1 accuracy in percent, as torchvision states it), ms (processor time of the network alone for a picture,
        in float32, of an AMD EPYC), P@5 and mAP (of the penultimate layer on the bundled cartoons), licence, weights
        (where they come from), file. NaN where there is no such number, see `benchmarks/networks.py`.

    Examples
    --------
    >>> import amulsearch as am
    >>> am.models.table()[["name", "group", "input", "penultimate"]].tail(3)
                name   group  input  penultimate
    11  dinov2_small  modern    224          384
    12  dinov3_small  modern    256          384
    13   siglip_base  modern    224          768
    """
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    rows = []
    for model in TABLE.values():
        measured = dict(zip(MEASURES, MEASURED[model.name], strict=True))
        rows.append(
            {
                "name": model.name,
                "group": group_of[model.name],
                "ready": model.ready,
                "MB": measured.pop("MB"),
                "input": model.preprocess.size,
                "penultimate": model.penultimate,
                **measured,
                "licence": model.licence,
                "weights": model.source,
                "file": Path(model.weights.file).name,
            }
        )
    return pd.DataFrame(rows)
