"""Every network by its name: `get` gives the record of one, `table` lists those that have a name of their own.

Importing this module needs neither torch nor torchvision.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pandas as pd

from ..errors import ModelError, QueryError
from ..intake import did_you_mean
from .architectures import timm_record, torchvision_names, torchvision_record
from .model import Model
from .network_table import ABOUT, GROUPS, INNER, MEASURES, TABLE, for_size
from .preprocess import MOST_BLUR
from .text_towers import PREFIX, tower_record


def get(name: str | Model) -> Model:
    """Return the record of a model by its name.

    Parameters
    ----------
    name : str or Model
        A network of `TABLE`; any other torchvision classifier, such as "resnet18" (weights IMAGENET1K_V1) or
        "resnet50.IMAGENET1K_V2"; any network of timm, such as "timm/mobilenetv3_small_100.lamb_in1k"; or one of
        open_clip, "open_clip/REPOSITORY". A name may end in views, which say what the network gets of each picture:
        "@mirror", "@turn90" (180, 270 degrees to the left), "@grey", "@blur5" (a low-pass filter with a standard
        deviation of 5 pixels of the network's input) or "@320" (320 x 320 pixels). A Model is returned unchanged.

    Raises
    ------
    ModelError
        For an unknown name or view.

    Examples
    --------
    >>> import amulsearch as am
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
    """The record with another view of each picture, or with pictures of another size."""
    now, name = model.preprocess, f"{model.name}@{view}"
    if view.isdecimal() and 32 <= int(view) <= 2048 and not reads_words(model):
        return replace(for_size(model, int(view)), name=name)
    if view == "mirror":
        change = {"mirror": not now.mirror}
    elif view == "grey":
        change = {"grey": True}
    elif re.fullmatch("turn(90|180|270)", view):
        turn = int(view.removeprefix("turn"))
        change = {"turn": (now.turn + (-turn if now.mirror else turn)) % 360}
    elif re.fullmatch(r"blur[1-9]\d?(\.\d)?", view):
        change = {"blur": min(math.hypot(now.blur, float(view.removeprefix("blur"))), MOST_BLUR)}
    else:
        sizes = "" if reads_words(model) else ", or @ and a size of 32 to 2048 pixels"
        views = "@mirror, @turn90 (180, 270), @grey, @blur and pixels (@blur5)"
        raise ModelError(f"{model.name} has no view @{view}: use {views}{sizes}")
    return replace(model, name=name, preprocess=replace(now, **change))


def _other(name: str) -> Model:
    """The record of a network that is not in the table."""
    if name in GROUPS:
        raise ModelError(f"{name} is a group of models: use one of {', '.join(GROUPS[name])}")
    if name.startswith(PREFIX):
        return tower_record(name.removeprefix(PREFIX))
    record = timm_record(name.removeprefix("timm/")) if name.startswith("timm/") else torchvision_record(name)
    if record is None:
        meant = did_you_mean(name, [*TABLE, *GROUPS, *torchvision_names()])
        others = (
            "a torchvision classifier (resnet18), or a timm network, prefixed with timm/ (timm/mobilenetv3_small_100)"
        )
        raise ModelError(f"there is no network {name!r}{meant}: use one of {', '.join(TABLE)}, {others}")
    return record


def names_of(models: str | Model | Sequence[str | Model]) -> list[str | Model]:
    """Expand groups and comma-separated names to a list of models.

    Parameters
    ----------
    models : str, Model or sequence of these
        "bundled", "blog" and "modern" are groups, see `GROUPS`; a string may hold several names, separated by commas.

    Returns
    -------
    list of str or Model
        Without repetitions. Whether there is such a network is not checked; `get` does that.
    """
    parts = models.split(",") if isinstance(models, str) else [models] if isinstance(models, Model) else models
    if not isinstance(parts, Iterable):
        raise ModelError(f"models must be names or Models, not {type(models).__name__}")
    names = []
    for part in parts:
        if isinstance(part, str):
            names += GROUPS.get(part.strip(), [part.strip()])
        else:
            names.append(get(part))
    return list(dict.fromkeys(name for name in names if name))


def get_all(models: str | Model | Sequence[str | Model]) -> list[Model]:
    """The records of several models as `names_of` takes them, whose names differ."""
    records = list(dict.fromkeys(get(name) for name in names_of(models)))
    names = [record.name for record in records]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ModelError(f"two different models have the name {twice[0]}: give each a name of its own")
    return records


def classifiers(models: str | Model | Sequence[str | Model]) -> list[str]:
    """The names of those models, at least one, that know the 1,000 classes of ImageNet, see `categories`."""
    records = get_all(models)
    names = [record.name for record in records if record.classes == 1000]
    if not names:
        without = ", ".join(record.name for record in records)
        raise QueryError(f"classes of ImageNet are needed, which none of {without} has: add a network such as resnet18")
    return names


def main_layers(model: str | Model) -> list[str]:
    """The layers that `extract` computes if none are named: the logits, of a network with classes, and penultimate."""
    return ["penultimate"] if get(model).classes == 0 else ["logits", "penultimate"]


def standard_layers(model: str | Model) -> list[str]:
    """The layers that most questions need: `main_layers`, the last map by GeM, and the inner layer of the table."""
    record = get(model)
    inner = [INNER[record.name]] if TABLE.get(record.name) == record else []
    return [*main_layers(record), "last:gem", *inner]


def reads_words(model: str | Model) -> bool:
    """Whether a network has a text tower."""
    return str(getattr(model, "name", model)).startswith(PREFIX)


def title(name: str) -> str:
    """A network or a system as a person calls it: "Lite0 penultimate" for "tf_efficientnet_lite0 penultimate"."""
    return re.sub(r"^\w+", lambda word: ABOUT[word[0]][0] if word[0] in ABOUT else word[0], name)


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
    """
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    rows = []
    for name, model in TABLE.items():
        _, _, size, *measured = ABOUT[name]
        about = name, group_of[name], model.ready, size, model.preprocess.size, model.penultimate, *measured
        rows.append((*about, model.licence, model.source, Path(model.weights.file).name))
    first = "name", "group", "ready", MEASURES[0], "input", "penultimate"
    return pd.DataFrame(rows, columns=[*first, *MEASURES[1:], "licence", "weights", "file"])
