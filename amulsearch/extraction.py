"""From pictures to vectors: any layers of any networks over a collection, each picture decoded once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from . import models as model_table
from .collection import Collection, plain_text
from .decoding import decode, processors
from .errors import AmulsearchError, PictureError, QueryError
from .features import Features, FeatureSet, canonical_layer, fingerprint
from .preprocess import FRAMINGS
from .record import Model
from .store import FeatureFile, Key, MemoryRows, Store

if TYPE_CHECKING:
    from .engine import DescriptorEngine, OpenVinoEngine, TorchEngine

CHUNK = 16
"""Pictures that are decoded together."""

Rows = dict[tuple[str, str], FeatureFile | MemoryRows]
Inputs = dict[str, np.ndarray] | PictureError


def extract(
    collection: Collection,
    models: str | Model | list | tuple = model_table.BUNDLED,
    layers: str | list | tuple = ("logits", "penultimate"),
    *,
    framing: str = "pad",
    precision: str = "float32",
    store: str | os.PathLike | Store | None = None,
    runner: Callable[[Run, bool], None] | None = None,
    progress: bool = True,
) -> FeatureSet:
    """The vectors of a collection: `result[model, layer]` is a `Features` of (N, D) float32.

    models: names (see `models.get`), records, or the groups "bundled" and "blog".
    layers: "logits", "penultimate", "last" (the last feature map) or the name of an inner module; a map's name can
        end in ":mean" (default) or ":gem". Of what is no network (see `classical`) only "descriptor".
    framing: "pad", "crop" or "squash", see `preprocess.fit`.
    precision: what the networks compute in: "float32"; "bfloat16" or "float16", where the processor or the GPU has them
        up to several times faster, with neighbours that differ a little; "auto", the fastest this machine has.
    store: a folder that keeps the vectors, so that only pictures that are new or changed are computed next time.
    runner: what does the work, by default this process; `RayRunner` spreads it over processes and machines.

    A picture whose pixels cannot be decoded is left out and listed in `result.rejected`. Interrupted, a run with a
    store leaves what was done, and the next goes on from there.
    """
    if framing not in FRAMINGS:
        raise QueryError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    if store is not None and not isinstance(store, Store):
        store = Store(store)
    if precision != "float32":
        from .engine import resolve_precision  # it needs torch

        precision = resolve_precision(precision)
    records = [model_table.get(name) for name in model_table.names_of(models)]
    layers = [layers] if isinstance(layers, str) else layers
    layers = list(dict.fromkeys(canonical_layer(layer) for layer in layers))
    if not records or not layers:
        raise QueryError("give at least one model and one layer")
    if store is not None:
        store.save_collection(collection)
    made_by = {
        (model.name, layer): fingerprint(model, layer, framing, precision, collection)
        for model in records
        for layer in layers
    }
    rows: Rows = {name: store.feature_file(made) if store else MemoryRows() for name, made in made_by.items()}
    keys = list(zip(collection.ids, collection.table["digest"], strict=True))
    run = Run(rows, keys, collection, records, layers, framing, precision)
    run.fetch_weights()
    if run.wanted and runner is None:
        run(progress)
    elif run.wanted:
        runner(run, progress)
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


class Run:
    """One pass over the pictures that lack vectors: decoded once each, batched a model, written as they come.

    engines: those of an earlier pass over other pictures; pictures: how many there are in all, see `engine_for`.
    """

    def __init__(
        self,
        rows: Rows,
        keys: list[Key],
        collection: Collection,
        models: list[Model],
        layers: list[str],
        framing: str,
        precision: str,
        engines: dict[str, TorchEngine | OpenVinoEngine | DescriptorEngine] | None = None,
        pictures: int | None = None,
    ):
        self.rows, self.keys, self.collection, self.models = rows, keys, collection, models
        self.layers, self.framing, self.precision = layers, framing, precision
        self.missing = {
            model.name: {key for layer in layers for key in keys if key not in rows[model.name, layer].rows}
            for model in models
        }
        self.wanted = [key for key in keys if any(key in self.missing[model.name] for model in models)]
        self.rejected: dict[str, str] = {}
        self._waiting: dict[str, list[tuple[Key, np.ndarray]]] = {model.name: [] for model in models}
        self._engines = {} if engines is None else engines
        self._pictures = len(keys) if pictures is None else pictures

    def fetch_weights(self) -> None:
        """Download what is missing, or say that it cannot be had, before the first picture is decoded."""
        for model in self.models:
            if self.missing[model.name] and not model.ready:
                from .networks import load

                load(model)

    def __call__(self, progress: bool) -> None:
        from .engine import BATCH  # torch is imported only where a vector is to be computed

        self._bar = tqdm(total=len(self.wanted), desc="extract", unit="picture", delay=1, disable=not progress)
        try:
            for keys, found in prepared(self.collection, self.models, self.framing, self.wanted, self.missing):
                for key, inputs in zip(keys, found, strict=True):
                    if isinstance(inputs, PictureError):
                        self.rejected[key[0]] = str(inputs)
                        continue
                    for name, pixels in inputs.items():
                        self._waiting[name].append((key, pixels))
                self._forward(BATCH)
                self._bar.update(len(keys))
            self._forward(1)
        finally:
            self._keep(wait=True)
            for rows in self.rows.values():
                rows.flush()
            self._bar.close()

    def _forward(self, least: int) -> None:
        """Start the batches for which at least so many pictures wait."""
        from .engine import BATCH, engine_for

        for model in self.models:
            while len(waiting := self._waiting[model.name]) >= least:
                batch, self._waiting[model.name] = waiting[:BATCH], waiting[BATCH:]
                if model.name not in self._engines:
                    self._engines[model.name] = engine_for(
                        model, self.layers, self.precision, self._pictures, self._announce
                    )
                self._engines[model.name].submit([key for key, _ in batch], np.stack([pixels for _, pixels in batch]))
        self._keep()

    def _announce(self, text: str) -> None:
        """Show beside the progress bar what takes seconds and moves no picture."""
        self._bar.delay = 0  # a bar that is not yet shown is shown now
        self._bar.set_postfix_str(text)

    def _keep(self, wait: bool = False) -> None:
        """Write what the engines have done."""
        for name, engine in self._engines.items():
            for keys, vectors in engine.results(wait):
                self.take(name, keys, vectors)

    def take(self, name: str, keys: list[Key], vectors: Mapping[str, np.ndarray]) -> None:
        """Keep vectors of a model, layer -> (B, D), of pictures that have none yet."""
        self._reject_not_finite(name, keys, vectors)
        for layer in self.layers:
            known = self.rows[name, layer].rows
            new = [i for i, key in enumerate(keys) if key not in known and key[0] not in self.rejected]
            if new:
                self.rows[name, layer].append([keys[i] for i in new], vectors[layer][new])

    def _reject_not_finite(self, name: str, keys: list[Key], vectors: Mapping[str, np.ndarray]) -> None:
        for layer, values in vectors.items():
            for row in np.flatnonzero(~np.isfinite(values).all(axis=1)):
                self.rejected[keys[row][0]] = f"{name} gives NaN or infinite values at {layer}"


def prepared(
    collection: Collection,
    models: Sequence[Model],
    framing: str,
    keys: Sequence[Key] | None = None,
    missing: Mapping[str, set[Key]] | None = None,
) -> Iterator[tuple[Sequence[Key], list[Inputs]]]:
    """Pictures decoded once each, as the inputs of models: chunks of keys, and for each key model -> pixels, or the
    error that says why it cannot be decoded.

    keys: the pictures, all by default; missing: model -> those it is to see, by default all. Some chunks are prepared
    ahead of the one that is given.
    """
    keys = list(zip(collection.ids, collection.table["digest"], strict=True)) if keys is None else keys
    count = processors()
    pool = ThreadPoolExecutor(count)
    futures: deque[tuple[Sequence[Key], Future]] = deque()
    try:
        for start in range(0, len(keys), CHUNK):
            chunk = keys[start : start + CHUNK]
            futures.append((chunk, pool.submit(_prepare, collection, models, framing, chunk, missing)))
            if len(futures) >= 4 + count:
                chunk, future = futures.popleft()
                yield chunk, future.result()
        for chunk, future in futures:
            yield chunk, future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare(collection: Collection, models, framing: str, keys: Sequence[Key], missing) -> list[Inputs]:
    found: list[Inputs] = [{} for _ in keys]
    for side in dict.fromkeys(model.preprocess.side for model in models):
        lacking = [  # for each key, the models that take its picture in this size
            [m for m in models if m.preprocess.side == side and (missing is None or key in missing[m.name])]
            for key in keys
        ]
        places = [i for i, of in enumerate(lacking) if of and not isinstance(found[i], PictureError)]
        images = decode([collection.request(keys[i][0], side) for i in places])
        for i, image in zip(places, images, strict=True):
            if isinstance(image, PictureError):
                found[i] = image
                continue
            for model in lacking[i]:
                found[i][model.name] = model.preprocess.pixels(image, framing, collection.background)
    return found


def _without(collection: Collection, rejected: dict[str, str]) -> Collection:
    """The collection with these pictures moved to the table of what is left out, with their reasons."""
    if len(rejected) == len(collection):
        id, reason = next(iter(rejected.items()))
        raise AmulsearchError(f"none of the {len(rejected)} pictures can be used; {id}: {reason}")
    rows = [*collection.rejected.to_dict("records"), *({"id": i, "reason": why} for i, why in rejected.items())]
    kept = collection.subset(id for id in collection.ids if id not in rejected)
    return replace(kept, rejected=plain_text(pd.DataFrame(rows).sort_values("id", ignore_index=True)))
