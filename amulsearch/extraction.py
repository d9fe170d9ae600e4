"""From pictures to vectors: any layers of any networks over a collection, each picture decoded once."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from . import models as model_table
from .collection import Collection, plain_text
from .errors import AmulsearchError, PictureError, QueryError
from .features import Features, FeatureSet, canonical_layer, fingerprint
from .pictures import FRAMINGS, open_image
from .record import Model
from .store import FeatureFile, Key, MemoryRows, Store

BATCH = 16


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
    framing: "pad", "crop" or "squash", see `pictures.fit`.
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
    rows: dict[tuple[str, str], FeatureFile | MemoryRows] = {}
    for model in records:
        for layer in layers:
            made_by = fingerprint(model, layer, framing, collection)
            rows[model.name, layer] = store.feature_file(made_by) if store else MemoryRows()
    keys = list(zip(collection.ids, collection.table["digest"], strict=True))
    bad, extracted = _fill(rows, keys, collection, records, layers, framing, progress)
    if bad:
        keys = [key for key in keys if key[0] not in bad]
        if not keys:
            id, reason = next(iter(bad.items()))
            raise AmulsearchError(f"none of the {len(bad)} pictures could be decoded; {id}: {reason}")
        rejected = [
            *collection.rejected.to_dict("records"),
            *({"id": i, "reason": r} for i, r in bad.items()),
        ]
        collection = replace(
            collection.subset(id for id, _ in keys),
            rejected=plain_text(pd.DataFrame(rejected).sort_values("id", ignore_index=True)),
        )
    features = {}
    for model in records:
        for layer in layers:
            made_by = fingerprint(model, layer, framing, collection)
            vectors = rows[model.name, layer].arrange(keys)
            digests = [digest for _, digest in keys]
            features[model.name, layer] = Features(vectors, collection.ids, collection.labels, made_by, digests, model)
            if store is not None:
                store.set_current(made_by)
    if store is not None:
        store.save_collection(collection)
    return FeatureSet(collection, features, extracted)


def _fill(rows, keys, collection, records, layers, framing, progress) -> tuple[dict[str, str], int]:
    """Compute the vectors that are missing; the pictures that could not be decoded, and how many were computed."""
    missing = {
        model.name: {key for layer in layers for key in keys if key not in rows[model.name, layer].rows}
        for model in records
    }
    wanted = [key for key in keys if any(key in missing[model.name] for model in records)]
    bad: dict[str, str] = {}
    waiting: dict[str, list[tuple[Key, np.ndarray]]] = {model.name: [] for model in records}

    def prepare(key: Key) -> dict[str, np.ndarray]:
        image = collection.open(key[0])
        needed = [model for model in records if key in missing[model.name]]
        return {model.name: model.preprocess.pixels(image, framing, collection.background) for model in needed}

    def forward(model: Model, least: int) -> None:
        while len(waiting[model.name]) >= least:
            batch, waiting[model.name] = waiting[model.name][:BATCH], waiting[model.name][BATCH:]
            vectors = _run(model, [pixels for _, pixels in batch], layers)
            _reject_not_finite(model, vectors, [key for key, _ in batch], bad)
            for layer in layers:
                known = rows[model.name, layer].rows
                new = [place for place, (key, _) in enumerate(batch) if key not in known and key[0] not in bad]
                if new:
                    rows[model.name, layer].append([batch[place][0] for place in new], vectors[layer][new])

    try:
        bar = tqdm(total=len(wanted), desc="extract", unit="picture", delay=1, disable=not progress or not wanted)
        for key, future in _prefetch(prepare, wanted):
            try:
                for name, pixels in future.result().items():
                    waiting[name].append((key, pixels))
            except PictureError as error:
                bad[key[0]] = str(error)
            for model in records:
                forward(model, BATCH)
            bar.update()
        for model in records:
            forward(model, 1)
        bar.close()
    finally:
        for file in rows.values():
            file.flush()
    return bad, len(wanted) - len(bad)


def _run(model: Model, pixels: list[np.ndarray], layers: list[str]) -> dict[str, np.ndarray]:
    from .networks import load  # torch is imported when the first vector is computed, not before

    return load(model)(model.preprocess.batch(pixels), layers)


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


def _reject_not_finite(model: Model, vectors: dict[str, np.ndarray], keys: list[Key], bad: dict[str, str]) -> None:
    for layer, values in vectors.items():
        for place in np.flatnonzero(~np.isfinite(values).all(axis=1)):
            bad[keys[place][0]] = f"{model.name} gives NaN or infinite values at {layer}"


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
    parts = [_run(record, batch, list(full.values())) for batch in batches]
    return {layer: np.concatenate([part[name] for part in parts]) for layer, name in full.items()}
