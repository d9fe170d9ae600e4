"""Inputs of networks: each picture is decoded once for all models, ahead of its use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future

import numpy as np

from ..errors import ModelError, PictureError
from ..intake import Collection, decode, decoding_threads, processors
from ..models import Model

CHUNK = 16
"""Number of pictures that are decoded together."""

Inputs = dict[str, np.ndarray] | PictureError


def prepared(
    collection: Collection,
    models: Sequence[Model],
    framing: str,
    places: Sequence[int] | None = None,
    missing: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[Sequence[int], list[Inputs]]]:
    """Decode pictures once each and prepare them for models, some chunks ahead of the one that is yielded.

    Parameters
    ----------
    collection : Collection
    models : sequence of Model
    framing : {"pad", "crop", "squash"}
    places : sequence of int, optional
        The pictures, by their places in the collection; by default, all.
    missing : mapping of str to ndarray of shape (N,), bool, optional
        Which of the N pictures each model needs, by the model's name; by default, all.

    Yields
    ------
    places : sequence of int
        A chunk of the pictures.
    inputs : list of dict or PictureError
        For each picture, its pixels by model name, see `Preprocess.pixels`; or the reason why it cannot be decoded.
    """
    places = range(len(collection)) if places is None else places
    futures: deque[tuple[Sequence[int], Future]] = deque()
    with decoding_threads() as pool:
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            futures.append((chunk, pool.submit(_prepare, collection, models, framing, chunk, missing)))
            if len(futures) >= 4 + processors():
                chunk, future = futures.popleft()
                yield chunk, future.result()
        for chunk, future in futures:
            yield chunk, future.result()


def stacked(pixels: Sequence[np.ndarray], model: Model) -> np.ndarray:
    """Put prepared pictures into one batch; ModelError if the user's own transform gives them different sizes."""
    shapes = list(dict.fromkeys(one.shape for one in pixels))
    if len(shapes) > 1:
        told = f"the transform of {model.name} gives pictures of different sizes, such as {shapes[0]} and {shapes[1]}"
        raise ModelError(f"{told}: let it return squares of one size")
    return np.stack(pixels)


def _prepare(collection: Collection, models, framing: str, chunk: Sequence[int], missing) -> list[Inputs]:
    """Prepare one chunk of `prepared`."""
    found: list[Inputs] = [{} for _ in chunk]
    ids = collection.table["id"].iloc[list(chunk)].tolist()
    for side in dict.fromkeys(model.preprocess.side for model in models):
        lacking = [  # for each picture, the models that need it at this size
            [m for m in models if m.preprocess.side == side and (missing is None or missing[m.name][place])]
            for place in chunk
        ]
        wanted = [i for i, of in enumerate(lacking) if of and not isinstance(found[i], PictureError)]
        images = decode([collection.request(ids[i], side) for i in wanted])
        for i, image in zip(wanted, images, strict=True):
            if isinstance(image, PictureError):
                found[i] = image
                continue
            for model in lacking[i]:
                found[i][model.name] = model.preprocess.pixels(image, framing, collection.background)
    return found
