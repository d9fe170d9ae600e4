"""Vectors of new pictures, computed as those of a collection were: a fingerprint is a tree that says how."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from .. import models
from ..errors import QueryError, StoreError
from ..intake import Decoded, open_image
from ..models import Descriptor, Model, canonical_layer
from .transforms import Transform, combine


def embed(
    images: Image.Image | list[Image.Image],
    model: str | Model,
    layers: str | list | tuple = ("logits", "penultimate"),
    *,
    framing: str = "pad",
    background: str = "white",
) -> dict[str, np.ndarray]:
    """Compute the vectors of pictures that are not in a collection, as `extract` would, always in float32.

    Parameters
    ----------
    images : PIL image or list of N PIL images
        See `open_image`.
    model : str or Model
        See `models.get`.
    layers : str or sequence of str, default ("logits", "penultimate")
        See `extract`.
    framing : {"pad", "crop", "squash"}
        See `models.resize_image`.
    background : str, default "white"
        The colour behind transparent parts and of the padding: a name or #rrggbb.

    Returns
    -------
    dict of str to ndarray of shape (N, D), float32
        The vectors by layer.

    Raises
    ------
    ModelError
        For an unknown model or layer, and for weights that cannot be loaded.
    QueryError
        If a picture is not a PIL image, or the framing or the background is unknown.

    Examples
    --------
    >>> import amulsearch as am
    >>> crow = am.open_image("data/openclipart/animals/birds/crow_01.webp")
    >>> vectors = am.embed(crow, "squeezenet1_1", ["penultimate", "last:gem"])
    >>> vectors["penultimate"].shape, vectors["last:gem"].shape
    ((1, 512), (1, 512))
    """
    record = models.get(model)
    layers = [layers] if isinstance(layers, str) else layers
    images = [images] if isinstance(images, Image.Image) else list(images)
    if not images:
        raise QueryError("give at least one picture")
    full = {layer: canonical_layer(layer) for layer in layers}
    pixels = [pixels_of(image, record, framing, background) for image in images]
    from ..models import load
    from .engine import BATCH

    network = record if isinstance(record, Descriptor) else load(record)
    batches = [np.stack(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    parts = [network(batch, list(full.values())) for batch in batches]
    return {layer: np.concatenate([part[name] for part in parts]) for layer, name in full.items()}


def pixels_of(image: Image.Image, model: Model, framing: str, background: str) -> np.ndarray:
    """Prepare a new picture for a network.

    Parameters
    ----------
    image : PIL image
    model : Model
    framing : {"pad", "crop", "squash"}
    background : str
        The colour behind transparent parts and of the padding.

    Returns
    -------
    ndarray of shape (size, size, 3), uint8
        See `Preprocess.pixels`.

    Raises
    ------
    QueryError
        If `image` is not a PIL image, or the framing or the background is unknown.
    """
    if not isinstance(image, Image.Image):
        raise QueryError(f"a picture must be a PIL image (am.open_image opens one), not {type(image).__name__}")
    image = image if image.mode == "RGB" else open_image(image, background=background)
    return model.preprocess.pixels(Decoded(np.array(image), image.size), framing, background)


def encode(images: list[Image.Image], made_by: Mapping, makers: Iterable[Model | Transform]) -> np.ndarray:
    """Compute the vectors of new pictures as a fingerprint says.

    Parameters
    ----------
    images : list of B PIL images
    made_by : mapping
        The fingerprint of the features, see `Features`.
    makers : iterable of Model or Transform
        The records of your own networks, and the fitted transforms that the fingerprint refers to.

    Returns
    -------
    ndarray of shape (B, D), float32

    Raises
    ------
    QueryError
        If a network now has other weights or another preprocessing, or a picture is not a PIL image.
    ModelError
        If a model is unknown or its weights cannot be loaded.
    """
    records = {maker.name: maker for maker in makers if isinstance(maker, Model)}
    fitted = {maker.digest: maker for maker in makers if isinstance(maker, Transform)}
    passes: dict[tuple, list] = {}  # all layers of a network in one pass
    for leaf in _leaves(made_by):
        passes.setdefault((leaf["model"], leaf["framing"], leaf["background"]), []).append(leaf)
    known = {}
    for (name, framing, background), leaves in passes.items():
        model = records.get(name) or models.get(name)
        if any({key: leaf.get(key) for key in model.describe()} != model.describe() for leaf in leaves):
            raise QueryError(f"the index was made with other weights or preprocessing of {name}: build it again")
        layers = list(dict.fromkeys(leaf["layer"] for leaf in leaves))
        for layer, vectors in embed(images, model, layers, framing=framing, background=background).items():
            known[name, framing, background, layer] = vectors
    return _follow(made_by, known, fitted)


def write_fitted(path: Path, fitted: list[Transform]) -> None:
    """Write fitted transforms to one .npz file.

    Parameters
    ----------
    path : Path
    fitted : list of Transform
    """
    about = [[one.kind, dict(one.settings), dict(one.source), one.content] for one in fitted]
    arrays = {f"{place}.{name}": value for place, one in enumerate(fitted) for name, value in one.arrays.items()}
    with path.open("wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8), **arrays)


def open_fitted(path: Path, made_by: Mapping) -> list[Transform]:
    """Read the fitted transforms that a fingerprint refers to.

    Parameters
    ----------
    path : Path
        The .npz file beside an index, written by `write_fitted`.
    made_by : mapping
        The fingerprint of the index.

    Returns
    -------
    list of Transform
        Empty if the fingerprint refers to none.

    Raises
    ------
    StoreError
        If the file cannot be read or lacks one of the transforms.
    """
    wanted = set(_fitted_in(made_by))
    if not wanted:
        return []
    found = []
    try:
        with np.load(path, allow_pickle=False) as file:
            for place, (kind, *about) in enumerate(json.loads(file["about"].tobytes())):
                arrays = {name.partition(".")[2]: file[name] for name in file.files if name.startswith(f"{place}.")}
                settings, source, content = about
                found.append(Transform.kinds[kind](settings, arrays, source, content))
    except Exception as error:  # a damaged archive makes numpy raise nearly every built-in error
        raise StoreError(f"{path} cannot be read ({error}): build the index again") from None
    if wanted - {one.digest for one in found}:
        raise StoreError(f"{path} does not hold the transforms of the index: build the index again")
    return found


def background_of(made_by: Mapping) -> str:
    """Return the background colour of pictures from the fingerprint of their features.

    Parameters
    ----------
    made_by : mapping
        The fingerprint, see `Features`.

    Returns
    -------
    str
        A colour name or #rrggbb.
    """
    return _leaves(made_by)[0].get("background", "white")


def _leaves(made_by: Mapping) -> list[Mapping]:
    """List the leaves of a fingerprint: one for each layer of a network."""
    return [leaf for part in made_by["of"] for leaf in _leaves(part)] if "of" in made_by else [made_by]


def _fitted_in(made_by: Mapping) -> list[str]:
    """List the digests of the fitted transforms in a fingerprint."""
    below = [digest for part in made_by.get("of", ()) for digest in _fitted_in(part)]
    return [made_by["fitted"], *below] if "fitted" in made_by else below


def _follow(made_by: Mapping, known: Mapping, fitted: Mapping[str, Transform]) -> np.ndarray:
    """Compute the vectors (B, D) at a node of the tree."""
    if "of" not in made_by:
        return known[tuple(made_by[key] for key in ("model", "framing", "background", "layer"))]
    parts = [_follow(part, known, fitted) for part in made_by["of"]]
    if "fitted" in made_by:
        return fitted[made_by["fitted"]](parts[0])
    return combine(made_by["op"], parts)
