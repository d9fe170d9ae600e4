"""Vectors of new pictures, computed as those of a collection were: a fingerprint is a tree that says how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .. import models
from ..errors import QueryError, StoreError
from ..intake import Decoded, open_image, opening
from ..models import Model, canonical_layer
from ..store import inside
from .converted import single
from .inputs import stacked
from .transforms import Transform, combine
from .words import Words, of_words

PASS = ("model", "framing", "background", "precision")
"""What the layers that one pass of a network computes have in common in their fingerprints."""


def embed(
    images: Image.Image | list[Image.Image],
    model: str | Model,
    layers: str | list | tuple | None = None,
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
    layers : str or sequence of str, optional
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
    layers = models.main_layers(record) if layers is None else models.layer_names(layers)
    images = list(images) if isinstance(images, Iterable) else [images]
    if not images:
        raise QueryError("give at least one picture")
    full = {layer: canonical_layer(layer) for layer in layers}
    pixels = [pixels_of(image, record, framing, background) for image in images]
    from ..models import load

    network = load(record)
    size = network.config.batch
    batches = [stacked(pixels[start : start + size], record) for start in range(0, len(pixels), size)]
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
    return encode_each(images, [made_by], makers)[0]


def encode_each(
    images: list[Image.Image | Words], made_by: Sequence[Mapping], makers: Iterable[Model | Transform]
) -> list[np.ndarray]:
    """Compute the vectors of new pictures as several fingerprints say, with one pass of each network.

    Parameters
    ----------
    images : list of B PIL image or Words
    made_by : sequence of P mapping
    makers : iterable of Model or Transform
        Of all of them.

    Returns
    -------
    list of P ndarray of shape (B, D), float32

    Raises
    ------
    QueryError, ModelError
        As `encode`.
    """
    makers = list(makers)
    records = {maker.name: maker for maker in makers if isinstance(maker, Model)}
    fitted = {maker.digest: maker for maker in makers if isinstance(maker, Transform)}
    passes: dict[tuple, list] = {}  # all layers of a network in one pass
    for leaf in (leaf for one in made_by for leaf in _leaves(one)):
        passes.setdefault(tuple(leaf[key] for key in PASS), []).append(leaf)
    known = {}
    for key, leaves in passes.items():
        name = leaves[0]["model"]
        model = records.get(name) or models.get(name)
        described = model.describe()
        if any({field: leaf.get(field) for field in described} != described for leaf in leaves):
            raise QueryError(f"the index was made with other weights or preprocessing of {name}: build it again")
        known |= {(*key, layer): vectors for layer, vectors in _embedded(images, model, leaves).items()}
    return [_follow(one, known, fitted) for one in made_by]


def _embedded(images: list[Image.Image | Words], model: Model, leaves: list[Mapping]) -> dict[str, np.ndarray]:
    """The vectors (B, D) by layer, by the graph with which the collection's were computed if there is one: then neither
    torch is imported nor a network built."""
    layers, leaf = list(dict.fromkeys(leaf["layer"] for leaf in leaves)), leaves[0]
    if any(isinstance(image, Words) for image in images):
        found = []
        for image in images:
            pictures = list(image.pictures) if isinstance(image, Words) else [image]
            seen = _embedded(pictures, model, leaves)[layers[0]] if pictures else None
            found.append(of_words(image, model, layers, seen) if isinstance(image, Words) else seen[0])
        return {layers[0]: np.stack(found)}
    if images and all(one.get("backend", "").startswith("openvino") for one in leaves):
        run = single(model, layers, leaf["precision"])
        if run is not None:
            found = [run(pixels_of(image, model, leaf["framing"], leaf["background"])) for image in images]
            return {layer: np.stack([vectors[layer] for vectors in found]) for layer in layers}
    return embed(images, model, layers, framing=leaf["framing"], background=leaf["background"])


def write_fitted(folder: Path, fitted: list[Transform]) -> list[dict]:
    """Write the arrays of fitted transforms to a folder, one .npy file each.

    Parameters
    ----------
    folder : Path
    fitted : list of Transform

    Returns
    -------
    list of dict
        What `open_fitted` needs besides the files, as plain values.
    """
    for place, one in enumerate(fitted):
        for name, values in one.arrays.items():
            np.save(folder / f"{place}.{name}.npy", values, allow_pickle=False)
    return [
        {
            "kind": one.kind,
            "settings": dict(one.settings),
            "source": dict(one.source),
            "content": one.content,
            "digest": one.digest,
            "arrays": list(one.arrays),
        }
        for one in fitted
    ]


def open_fitted(folder: Path, about: list[dict], made_by: Mapping) -> list[Transform]:
    """Open fitted transforms; their arrays are memory maps.

    Parameters
    ----------
    folder : Path
        The folder of the files.
    about : list of dict
        What `write_fitted` returned.
    made_by : mapping
        The fingerprint of the index.

    Returns
    -------
    list of Transform

    Raises
    ------
    StoreError
        If a file cannot be read, or one of the transforms that the fingerprint refers to is missing.
    """
    found = []
    for place, one in enumerate(about):
        try:
            files = {name: inside(folder, f"{place}.{name}.npy") for name in one["arrays"]}
            arrays = {name: np.lib.format.open_memmap(path, mode="r") for name, path in files.items()}
            transform = Transform.kinds[one["kind"]](one["settings"], arrays, one["source"], one["content"])
        except Exception as error:  # a damaged file makes numpy raise nearly every built-in error
            raise StoreError(f"{folder} cannot be read ({error}): build the index again") from None
        transform.__dict__["digest"] = one["digest"]  # computing it would read all arrays; `check` verifies the files
        found.append(transform)
    if set(_fitted_in(made_by)) - {one.digest for one in found}:
        raise StoreError(f"{folder} does not hold the transforms of the index: build the index again")
    return found


def opening_of(made_by: Mapping) -> dict:
    """Return how the pictures of features were opened, from their fingerprint.

    Parameters
    ----------
    made_by : mapping
        The fingerprint, see `Features`.

    Returns
    -------
    dict
        The frame, the background and max_pixels, as keywords of `open_image`.
    """
    leaf, known = _leaves(made_by)[0], opening()
    return {name: leaf.get(name, value) for name, value in known.items()}


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
        return known[tuple(made_by[key] for key in (*PASS, "layer"))]
    parts = [_follow(part, known, fitted) for part in made_by["of"]]
    if "fitted" in made_by:
        return fitted[made_by["fitted"]](parts[0])
    return combine(made_by["op"], parts)
