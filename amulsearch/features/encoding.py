"""The vector of a new picture, made as that of the collection was: a fingerprint is a tree that says how."""

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
    """The vectors of pictures that are in no collection: layer -> (N, D) float32, as `extract` would give them.

    They are always computed in float32.
    """
    record = models.get(model)
    layers = [layers] if isinstance(layers, str) else layers
    images = [images] if isinstance(images, Image.Image) else images
    full = {layer: canonical_layer(layer) for layer in layers}
    pixels = [pixels_of(image, record, framing, background) for image in images]
    from ..models import load
    from .engine import BATCH

    network = record if isinstance(record, Descriptor) else load(record)
    batches = [np.stack(pixels[start : start + BATCH]) for start in range(0, len(pixels), BATCH)]
    parts = [network(batch, list(full.values())) for batch in batches]
    return {layer: np.concatenate([part[name] for part in parts]) for layer, name in full.items()}


def pixels_of(image: Image.Image, model: Model, framing: str, background: str) -> np.ndarray:
    """A new picture as a network takes it, see `Preprocess.pixels`; QueryError for what is no PIL image."""
    if not isinstance(image, Image.Image):
        raise QueryError(f"a picture is a PIL image, as am.open_image gives it, not a {type(image).__name__}")
    image = image if image.mode == "RGB" else open_image(image, background=background)
    return model.preprocess.pixels(Decoded(np.array(image), image.size), framing, background)


def encode(images: list[Image.Image], made_by: Mapping, makers: Iterable[Model | Transform]) -> np.ndarray:
    """The vectors (B, D) float32 of new pictures, made as a fingerprint says.

    makers: records of your own networks, and the fitted transforms that the fingerprint names.
    """
    records = {maker.name: maker for maker in makers if isinstance(maker, Model)}
    fitted = {maker.digest: maker for maker in makers if isinstance(maker, Transform)}
    passes: dict[tuple, list] = {}  # the layers of a network are read in one pass
    for leaf in _leaves(made_by):
        passes.setdefault((leaf["model"], leaf["framing"], leaf["background"]), []).append(leaf)
    known = {}
    for (name, framing, background), leaves in passes.items():
        model = records.get(name) or models.get(name)
        if any({key: leaf[key] for key in model.describe()} != model.describe() for leaf in leaves):
            raise QueryError(f"the index was made with other weights or preprocessing of {name}: build it anew")
        layers = list(dict.fromkeys(leaf["layer"] for leaf in leaves))
        for layer, vectors in embed(images, model, layers, framing=framing, background=background).items():
            known[name, framing, background, layer] = vectors
    return _follow(made_by, known, fitted)


def write_fitted(path: Path, fitted: list[Transform]) -> None:
    """Write fitted transforms into one .npz file."""
    about = [[one.kind, dict(one.settings), dict(one.source), one.content] for one in fitted]
    arrays = {f"{place}.{name}": value for place, one in enumerate(fitted) for name, value in one.arrays.items()}
    with path.open("wb") as file:
        np.savez(file, about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8), **arrays)


def open_fitted(path: Path, made_by: Mapping) -> list[Transform]:
    """The transforms that a fingerprint names, from the .npz file beside its index."""
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
        raise StoreError(f"{path} cannot be read ({error}): build the index anew") from None
    if wanted - {one.digest for one in found}:
        raise StoreError(f"{path} does not hold the transforms that made the index: build the index anew")
    return found


def background_of(made_by: Mapping) -> str:
    """What the transparent parts of pictures were laid on for vectors with this fingerprint."""
    return _leaves(made_by)[0].get("background", "white")


def _leaves(made_by: Mapping) -> list[Mapping]:
    return [leaf for part in made_by["of"] for leaf in _leaves(part)] if "of" in made_by else [made_by]


def _fitted_in(made_by: Mapping) -> list[str]:
    below = [digest for part in made_by.get("of", ()) for digest in _fitted_in(part)]
    return [made_by["fitted"], *below] if "fitted" in made_by else below


def _follow(made_by: Mapping, known: Mapping, fitted: Mapping[str, Transform]) -> np.ndarray:
    """The vectors (B, D) at a node of the tree."""
    if "of" not in made_by:
        return known[tuple(made_by[key] for key in ("model", "framing", "background", "layer"))]
    parts = [_follow(part, known, fitted) for part in made_by["of"]]
    if "fitted" in made_by:
        return fitted[made_by["fitted"]](parts[0])
    return combine(made_by["op"], parts)
