"""One pass of networks over a collection: each picture is decoded once for all of them, ahead of its use."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models
from ..errors import PictureError
from ..intake import Collection, decode, decoding_threads, processors
from ..models import Model
from ..store import MemoryRows, VectorFile

if TYPE_CHECKING:
    from .converted import OpenVinoEngine
    from .engine import TorchEngine

CHUNK = 16
"""Number of pictures that are decoded together."""

Inputs = dict[str, np.ndarray] | PictureError
Files = dict[tuple[str, str], VectorFile | MemoryRows]
"""Where the vectors are, by model and layer."""


@dataclass(frozen=True)
class Work:
    """What is computed of each picture: the layers and the backend by the name of the model."""

    models: list[Model]
    layers: dict[str, list[str]]
    framing: str
    precision: str
    backends: dict[str, str] = field(default_factory=dict)


class Run:
    """One pass over the pictures that lack vectors: decoded once each, batched per model, written as they are done.

    numbers: the number (N,) of each picture in the files, equal for equal bytes, of which the first picture is
    computed. engines: those of an earlier pass over other pictures.
    """

    def __init__(
        self,
        work: Work,
        collection: Collection,
        numbers: np.ndarray,
        files: Files,
        engines: dict[str, TorchEngine | OpenVinoEngine] | None = None,
    ):
        self.work, self.collection, self.numbers, self.files = work, collection, numbers, files
        first = ~pd.Series(numbers).duplicated().to_numpy()
        self.lacking = {key: first & (file.places(numbers) < 0) for key, file in files.items()}
        """Which pictures (N,) have to be computed, by model and layer."""
        self.missing = {
            name: np.any([self.lacking[name, layer] for layer in layers], axis=0)
            for name, layers in work.layers.items()
        }
        self.wanted = np.flatnonzero(np.any(list(self.missing.values()), axis=0)).tolist()
        self.rejected: dict[int, str] = {}
        """Why a picture was given up, by its number."""
        self.overflows: dict[str, str] = {}
        """Why a network was given up, by its name."""
        self._waiting: dict[str, list[tuple[int, np.ndarray]]] = {model.name: [] for model in work.models}
        self._engines = {} if engines is None else engines

    def fetch_weights(self) -> None:
        """Download missing weights, or raise ModelError, before the first picture is decoded."""
        for model in self.work.models:
            if self.missing[model.name].any() and not model.ready:
                models.load(model)

    def __call__(self, progress: bool) -> None:
        chunks = network_inputs(self.collection, self.work.models, self.work.framing, self.wanted, self.missing)
        bar = tqdm(total=len(self.wanted), desc="extract", unit="picture", delay=1, disable=not progress or None)
        try:
            with bar, closing(chunks):
                for rows, inputs in chunks:
                    self._queue(rows, inputs)
                    self._forward()
                    bar.update(len(rows))
                self._forward(rest=True)
        finally:
            self._keep(wait=True)
            self.flush()

    def flush(self) -> None:
        """Write all vectors to disk."""
        for file in self.files.values():
            file.flush()

    def _queue(self, rows: Sequence[int], inputs: list[Inputs]) -> None:
        for row, pixels_by_model in zip(rows, inputs, strict=True):
            if isinstance(pixels_by_model, PictureError):
                self.rejected[int(self.numbers[row])] = str(pixels_by_model)
            else:
                for name, pixels in pixels_by_model.items():
                    self._waiting[name].append((row, pixels))

    def _forward(self, rest: bool = False) -> None:
        """Start all full batches of pictures that wait for a model; with `rest`, also the one that is not full."""
        for model in self.work.models:
            while waiting := self._waiting[model.name]:
                engine = self._engine(model)
                if len(waiting) < engine.batch and not rest:
                    break
                batch, self._waiting[model.name] = waiting[: engine.batch], waiting[engine.batch :]
                rows, pixels = zip(*batch, strict=True)
                engine.submit(rows, np.stack(pixels))
        self._keep()

    def _engine(self, model: Model) -> TorchEngine | OpenVinoEngine:
        if model.name not in self._engines:
            from .engine import engine_for

            backend, layers = self.work.backends[model.name], self.work.layers[model.name]
            self._engines[model.name] = engine_for(model, layers, self.work.precision, backend)
        return self._engines[model.name]

    def _keep(self, wait: bool = False) -> None:
        """Store the vectors that the engines have computed."""
        for name, engine in self._engines.items():
            for rows, vectors in engine.results(wait):
                self.add(name, rows, vectors)

    def add(self, name: str, rows: Sequence[int], vectors: Mapping[str, np.ndarray]) -> None:
        """Store the vectors of a model, layer -> (B, D), for the pictures in these rows that have none yet.

        Pictures whose vectors are zero, NaN or infinite are rejected: no index could be built with them. Values too
        large for float16 are no fault of a picture: then no more is computed with the network.
        """
        rows = np.asarray(rows, dtype=np.int64)
        finite = {layer: np.isfinite(values).all(axis=1) for layer, values in vectors.items()}
        for layer in vectors:
            if self.work.precision == "float16" and not finite[layer].all():
                self._give_up(name, layer, self.collection.table["id"].iat[rows[np.argmin(finite[layer])]])
        if name in self.overflows:
            return
        for layer, values in vectors.items():
            for at in np.flatnonzero(~finite[layer] | ~values.any(axis=1)):
                what = "only zeros" if finite[layer][at] else "NaN or infinite values"
                self.rejected[int(self.numbers[rows[at]])] = f"{name} gives {what} at {layer}"
        usable = ~np.isin(self.numbers[rows], list(self.rejected))
        for layer, values in vectors.items():
            lacking = self.lacking[name, layer]
            new = usable & lacking[rows]
            if new.any():
                self.files[name, layer].append(self.numbers[rows[new]], values[new])
                lacking[rows[new]] = False

    def _give_up(self, name: str, layer: str, id: str) -> None:
        where = f"the values of {name} at {layer} for {id!r}"
        self.overflows[name] = f"{where} are too large for float16: use the precision bfloat16 or float32"
        self.missing[name][:] = False
        self._waiting[name].clear()


def network_inputs(
    collection: Collection,
    models: Sequence[Model],
    framing: str,
    rows: Sequence[int] | None = None,
    missing: Mapping[str, np.ndarray] | None = None,
) -> Iterator[tuple[Sequence[int], list[Inputs]]]:
    """Decode pictures once each for several models, some chunks ahead of the one that is yielded.

    rows: the pictures; by default all. missing: which of the N pictures (N,) each model needs; by default all. Yields
    a chunk of the rows, and for each its pixels by model, see `Preprocess.pixels`, or why it cannot be decoded.
    """
    rows = range(len(collection)) if rows is None else rows
    futures: deque[tuple[Sequence[int], Future]] = deque()
    with decoding_threads() as pool:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            futures.append((chunk, pool.submit(_chunk_inputs, collection, models, framing, chunk, missing)))
            if len(futures) >= 4 + processors():
                chunk, future = futures.popleft()
                yield chunk, future.result()
        for chunk, future in futures:
            yield chunk, future.result()


def _chunk_inputs(collection: Collection, models, framing: str, rows: Sequence[int], missing) -> list[Inputs]:
    inputs: list[Inputs] = [{} for _ in rows]
    ids = collection.table["id"].iloc[list(rows)].tolist()
    for side in dict.fromkeys(model.preprocess.side for model in models):
        alike = [model for model in models if model.preprocess.side == side]
        needing = [[model for model in alike if missing is None or missing[model.name][row]] for row in rows]
        wanted = [at for at in range(len(rows)) if needing[at] and not isinstance(inputs[at], PictureError)]
        images = decode([collection.request(ids[at], side) for at in wanted])
        for at, image in zip(wanted, images, strict=True):
            if isinstance(image, PictureError):
                inputs[at] = image
                continue
            for model in needing[at]:
                inputs[at][model.name] = model.preprocess.pixels(image, framing, collection.background)
    return inputs
