"""From pictures to vectors: any layers of any networks over a collection, each picture decoded once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from . import models as model_table
from .collection import Collection, plain_text
from .errors import AmulsearchError, PictureError, QueryError
from .features import Features, FeatureSet, canonical_layer, fingerprint
from .pictures import open_image
from .preprocess import FRAMINGS
from .record import Model
from .store import FeatureFile, Key, MemoryRows, Store

if TYPE_CHECKING:
    from .engine import OpenVinoEngine, TorchEngine

BATCH = 16
"""Pictures that go through a network together; larger batches leave the processor's caches and are slower."""

Rows = dict[tuple[str, str], FeatureFile | MemoryRows]


def extract(
    collection: Collection,
    models: str | Model | list | tuple = model_table.BUNDLED,
    layers: str | list | tuple = ("logits", "penultimate"),
    *,
    framing: str = "pad",
    store: str | os.PathLike | Store | None = None,
    progress: bool = True,
) -> FeatureSet:
    """The vectors of a collection: `result[model, layer]` is a `Features` of (N, D) float32.

    models: names (see `models.get`), records, or the groups "bundled" and "blog".
    layers: "logits", "penultimate", "last" (the last feature map) or the name of an inner module; a map's name can
        end in ":mean" (default) or ":gem".
    framing: "pad", "crop" or "squash", see `preprocess.fit`.
    store: a folder that keeps the vectors, so that only pictures that are new or changed are computed next time.

    A picture whose pixels cannot be decoded is left out and listed in `result.rejected`. Interrupted, a run with a
    store leaves what was done, and the next goes on from there.
    """
    if framing not in FRAMINGS:
        raise QueryError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    if store is not None and not isinstance(store, Store):
        store = Store(store)
    records = [model_table.get(name) for name in model_table.names_of(models)]
    layers = [layers] if isinstance(layers, str) else layers
    layers = list(dict.fromkeys(canonical_layer(layer) for layer in layers))
    if not records or not layers:
        raise QueryError("give at least one model and one layer")
    if store is not None:
        store.save_collection(collection)
    made_by = {
        (model.name, layer): fingerprint(model, layer, framing, collection) for model in records for layer in layers
    }
    rows: Rows = {name: store.feature_file(made) if store else MemoryRows() for name, made in made_by.items()}
    keys = list(zip(collection.ids, collection.table["digest"], strict=True))
    run = _Run(rows, keys, collection, records, layers, framing)
    run.fetch_weights()
    if run.wanted:
        run(progress)
    if run.rejected:
        collection = _without(collection, run.rejected)
        keys = [key for key in keys if key[0] not in run.rejected]
    digests = [digest for _, digest in keys]
    record_of = {model.name: model for model in records}
    features = {
        (name, layer): Features(
            rows[name, layer].arrange(keys), collection.ids, collection.labels, made, digests, (record_of[name],)
        )
        for (name, layer), made in made_by.items()
    }
    if store is not None:
        store.save_collection(collection, current=made_by.values())
    return FeatureSet(collection, features, extracted=len(run.wanted) - len(run.rejected))


class _Run:
    """One pass over the pictures that lack vectors: decoded in threads, batched a model, written as they come."""

    def __init__(self, rows: Rows, keys: list[Key], collection: Collection, models, layers, framing: str):
        self.rows, self.collection, self.models, self.layers, self.framing = rows, collection, models, layers, framing
        self.missing = {
            model.name: {key for layer in layers for key in keys if key not in rows[model.name, layer].rows}
            for model in models
        }
        self.wanted = [key for key in keys if any(key in self.missing[model.name] for model in models)]
        self.rejected: dict[str, str] = {}
        self._waiting: dict[str, list[tuple[Key, np.ndarray]]] = {model.name: [] for model in models}
        self._engines: dict[str, TorchEngine | OpenVinoEngine] = {}

    def fetch_weights(self) -> None:
        """Download what is missing, or say that it cannot be had, before the first picture is decoded."""
        for model in self.models:
            if self.missing[model.name] and not model.ready:
                from .networks import load

                load(model)

    def __call__(self, progress: bool) -> None:
        self._bar = tqdm(total=len(self.wanted), desc="extract", unit="picture", delay=1, disable=not progress)
        try:
            for key, future in _prefetch(self._prepare, self.wanted):
                try:
                    for name, pixels in future.result().items():
                        self._waiting[name].append((key, pixels))
                except PictureError as error:
                    self.rejected[key[0]] = str(error)
                self._forward(BATCH)
                self._bar.update()
            self._forward(1)
        finally:
            self._keep(wait=True)
            for rows in self.rows.values():
                rows.flush()
            self._bar.close()

    def _prepare(self, key: Key) -> dict[str, np.ndarray]:
        """Decode a picture once, and bring it to the input of each model that lacks its vectors."""
        image = self.collection.open(key[0])
        needed = [model for model in self.models if key in self.missing[model.name]]
        return {
            model.name: model.preprocess.pixels(image, self.framing, self.collection.background) for model in needed
        }

    def _forward(self, least: int) -> None:
        """Start the batches for which at least so many pictures wait."""
        from .engine import engine_for  # torch is imported only where a vector is to be computed

        for model in self.models:
            while len(waiting := self._waiting[model.name]) >= least:
                batch, self._waiting[model.name] = waiting[:BATCH], waiting[BATCH:]
                if model.name not in self._engines:
                    count = len(self.missing[model.name])
                    self._engines[model.name] = engine_for(model, self.layers, count, self._announce)
                values = model.preprocess.batch([pixels for _, pixels in batch])
                self._engines[model.name].submit([key for key, _ in batch], values)
        self._keep()

    def _announce(self, text: str) -> None:
        """Show beside the progress bar what takes seconds and moves no picture."""
        self._bar.delay = 0  # a bar that is not yet shown is shown now
        self._bar.set_postfix_str(text)

    def _keep(self, wait: bool = False) -> None:
        """Write what the engines have done."""
        for name, engine in self._engines.items():
            for keys, vectors in engine.results(wait):
                self._reject_not_finite(name, keys, vectors)
                for layer in self.layers:
                    known = self.rows[name, layer].rows
                    new = [i for i, key in enumerate(keys) if key not in known and key[0] not in self.rejected]
                    if new:
                        self.rows[name, layer].append([keys[i] for i in new], vectors[layer][new])

    def _reject_not_finite(self, name: str, keys: list[Key], vectors: dict[str, np.ndarray]) -> None:
        for layer, values in vectors.items():
            for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
                self.rejected[keys[row][0]] = f"{name} gives NaN or infinite values at {layer}"


def _prefetch(prepare, keys: list[Key], ahead: int = 4 * BATCH) -> Iterator[tuple[Key, Future]]:
    """Prepare pictures in threads, a bounded number ahead of the network, and give them in order."""
    pool = ThreadPoolExecutor(os.cpu_count())
    futures: deque[tuple[Key, Future]] = deque()
    try:
        for key in keys:
            futures.append((key, pool.submit(prepare, key)))
            if len(futures) >= ahead:
                yield futures.popleft()
        yield from futures
    finally:
        pool.shutdown(cancel_futures=True)


def _without(collection: Collection, rejected: dict[str, str]) -> Collection:
    """The collection with these pictures moved to the table of what is left out, with their reasons."""
    if len(rejected) == len(collection):
        id, reason = next(iter(rejected.items()))
        raise AmulsearchError(f"none of the {len(rejected)} pictures can be used; {id}: {reason}")
    rows = [*collection.rejected.to_dict("records"), *({"id": i, "reason": why} for i, why in rejected.items())]
    kept = collection.subset(id for id in collection.ids if id not in rejected)
    return replace(kept, rejected=plain_text(pd.DataFrame(rows).sort_values("id", ignore_index=True)))


def embed(
    images: Image.Image | list[Image.Image],
    model: str | Model,
    layers: str | list | tuple = ("logits", "penultimate"),
    *,
    framing: str = "pad",
    background: str = "white",
) -> dict[str, np.ndarray]:
    """The vectors of pictures that are in no collection: layer -> (N, D) float32, as `extract` would give them."""
    record = model_table.get(model)
    layers = [layers] if isinstance(layers, str) else layers
    images = [images] if isinstance(images, Image.Image) else images
    full = {layer: canonical_layer(layer) for layer in layers}
    pixels = []
    for image in images:
        if not isinstance(image, Image.Image):
            raise QueryError(f"a picture is a PIL image, as am.open_image gives it, not a {type(image).__name__}")
        image = image if image.mode == "RGB" else open_image(image, background=background)
        pixels.append(record.preprocess.pixels(image, framing, background))
    batches = [pixels[start : start + BATCH] for start in range(0, len(pixels), BATCH)]
    from .networks import load

    network = load(record)
    parts = [network(record.preprocess.batch(batch), list(full.values())) for batch in batches]
    return {layer: np.concatenate([part[name] for part in parts]) for layer, name in full.items()}
