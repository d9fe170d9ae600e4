"""Feature extraction: any layers of any networks over a collection, with each picture decoded once."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import AmulsearchError, ModelError, PictureError, QueryError
from ..intake import MOVED, Collection, plain_text
from ..models import FRAMINGS, Model, canonical_layer, layer_names
from ..store import MemoryRows, Store, VectorFile
from .converted import ConversionError
from .features import Features, FeatureSet, fingerprint
from .inputs import Inputs, prepared, stacked

if TYPE_CHECKING:
    from .converted import OpenVinoEngine
    from .engine import TorchEngine

Held = dict[tuple[str, str], VectorFile | MemoryRows]
"""The vectors that are there already, by model and layer."""


def extract(
    collection: Collection,
    models: str | Model | list | tuple = model_table.BUNDLED,
    layers: str | list | tuple | Mapping[str, Sequence[str]] | None = None,
    *,
    framing: str = "pad",
    precision: str = "float32",
    store: str | os.PathLike | Store | None = None,
    runner: Callable[[Run, bool], None] | None = None,
    progress: bool = True,
) -> FeatureSet:
    """Compute the feature vectors of a collection.

    Pictures that cannot be decoded, or whose vectors are zero, NaN or infinite, are excluded and listed in
    `result.rejected`. A network whose values are too large for float16 is left out, and standard error says so. With a
    store, an interrupted run keeps the vectors that are done, and the next run continues.

    Parameters
    ----------
    collection : Collection
    models : str, Model or sequence of these, default: the four bundled networks
        Names (see `models.get`), records, or the groups "bundled", "blog" and "modern".
    layers : str, sequence of str, or mapping of model to these, optional
        Of all models, or of each by its name; by default "logits", if the network has classes, and "penultimate". Also
        "last" (the last feature map, or the tokens of a transformer's places), "cls" (the class token of a transformer)
        or the name of an inner module (`Network.nodes` lists them). The name of a feature map or of tokens may end in
        ":mean" (the default) or ":gem", see `models.pool`.
        "standard" stands for those that most questions need, see `models.standard_layers`: one pass of a network
        computes all its layers, so it saves time to ask for them at once.
    framing : {"pad", "crop", "squash"}
        How pictures become squares, see `models.resize_image`.
    precision : {"float32", "bfloat16", "float16", "auto"}
        The type in which networks compute. "bfloat16" and "float16" are up to several times faster if the processor
        or the GPU supports them; the neighbours differ slightly. "auto" is the fastest on this machine.
    store : path or Store, optional
        A folder that keeps the vectors, so that the next run computes only new and changed pictures, by whatever names.
    runner : callable, optional
        Does the work; by default, this process does. `RayRunner` distributes it over processes and machines.
    progress : bool, default True
        Show a progress bar.

    Returns
    -------
    FeatureSet
        `result[model, layer]` is a `Features` with vectors of shape (N, D), float32.

    Raises
    ------
    ModelError
        For an unknown model or layer, for weights that cannot be loaded, if all networks overflow in float16, and with
        a store for your own network without a version, see `models.own`.
    QueryError
        For an unknown framing or precision, and without a model or a layer.
    StoreError
        If the store cannot be used or written.
    AmulsearchError
        If no picture can be used, or the folder of the collection is not there and a picture has to be computed.

    See Also
    --------
    embed : Vectors of pictures that are not in a collection.
    FeatureSet.open : The features of a store, without a new run.

    Examples
    --------
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)[:10]
    >>> features = am.extract(birds, "squeezenet1_1", progress=False)
    >>> features.table
               model        layer  pictures  width
    0  squeezenet1_1       logits        10   1000
    1  squeezenet1_1  penultimate        10    512
    >>> features["squeezenet1_1", "penultimate"].vectors.shape
    (10, 512)
    """
    if not isinstance(collection, Collection):
        raise QueryError(
            f"extract takes a Collection, not {type(collection).__name__}: make one with Collection.from_folder(folder)"
        )
    if framing not in FRAMINGS:
        raise QueryError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    if store is not None and not isinstance(store, Store):
        store = Store(store)
    if precision != "float32":
        from .engine import resolve_precision

        precision = resolve_precision(precision)
    records = model_table.get_all(models)
    for model in records if store is not None else ():
        if not model.versioned:
            raise ModelError(
                f"{model.name} has no version, by which a store tells its code from other code: give am.models.own a "
                "version=, another one whenever the code changes, or extract without a store"
            )
    layers_of = {model.name: _layers_of(model, layers) for model in records}
    if isinstance(layers, Mapping) and (others := [name for name in layers if name not in layers_of]):
        raise QueryError(f"there are layers for {others[0]!r}, which is none of the models {', '.join(layers_of)}")
    if not records or not all(layers_of.values()):
        raise QueryError("give at least one model, and at least one layer of each")
    with store.lock() if store is not None else nullcontext():
        while True:
            try:
                return _extract(collection, records, layers_of, framing, precision, store, runner, progress)
            except ConversionError as error:  # the next round takes torch for this network
                print(error, file=sys.stderr)


def _layers_of(model: Model, layers) -> list[str]:
    """The layers of a model by their full names, from what `extract` takes."""
    asked = layers.get(model.name, ()) if isinstance(layers, Mapping) else layers
    asked = model_table.main_layers(model) if asked is None else asked
    found = []
    for layer in layer_names(asked):
        found += model_table.standard_layers(model) if layer == "standard" else [canonical_layer(layer)]
    return list(dict.fromkeys(found))


def _extract(
    collection: Collection,
    records: list[Model],
    layers: dict[str, list[str]],
    framing: str,
    precision: str,
    store: Store | None,
    runner,
    progress,
) -> FeatureSet:
    """Do the work of `extract`, with checked arguments and the store locked."""
    rows = store.register(collection) if store is not None else np.arange(len(collection))
    contents = store.contents(rows) if store is not None else collection.table["digest"].factorize()[0]
    held, made_by, backends = _held(collection, records, layers, framing, precision, store, np.unique(contents))
    run = Run(held, contents, collection, records, layers, framing, precision, backends)
    if run.wanted and not collection.folder.is_dir():
        raise AmulsearchError(f"{collection.folder} is not there; {MOVED}")
    run.fetch_weights()
    if run.wanted and runner is None:
        run(progress)
    elif run.wanted:
        runner(run, progress)
    if len(run.overflows) == len(records):
        raise ModelError(next(iter(run.overflows.values())))
    for name, reason in run.overflows.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    made_by = {key: made for key, made in made_by.items() if key[0] not in run.overflows}
    extracted, rejected = len(run.wanted) - len(run.rejected), {}
    if run.rejected:  # and the pictures with the same bytes
        content_of = dict(zip(collection.ids, contents.tolist(), strict=True))
        reasons = {content_of[id]: reason for id, reason in run.rejected.items()}
        kept = ~np.isin(contents, list(reasons))
        rows, contents = rows[kept], contents[kept]
        rejected = {id: reasons[content] for id, content in content_of.items() if content in reasons}
        collection = _without(collection, rejected)
    if store is not None:  # until here, the store holds its previous collection and features
        store.save_collection(collection, rows, current=made_by.values(), rejected=rejected)
    ids, labels, digests = collection.ids, collection.labels, collection.table["digest"].tolist()
    record_of = {model.name: model for model in records}
    features = {
        (name, layer): Features(held[name, layer].take(contents), ids, labels, made, digests, (record_of[name],))
        for (name, layer), made in made_by.items()
    }
    return FeatureSet(collection, features, extracted=extracted)


def _held(
    collection: Collection,
    records: list[Model],
    layers: dict[str, list[str]],
    framing: str,
    precision: str,
    store: Store | None,
    rows: np.ndarray,
) -> tuple[Held, dict[tuple[str, str], dict], dict[str, str]]:
    """Find the vectors that are there already, their fingerprints, and the backend of each model, by its name.

    rows: those of the different contents.

    The backend is part of the fingerprint. If the store has all vectors of a layer from one, they are taken, whether or
    not it could run here: indexes were built with them. The other layers come from the one with which they are done
    soonest.
    """
    held: Held = {}
    made_by, chosen = {}, {}
    for model in records:
        own = layers[model.name]
        of = {layer: fingerprint(model, layer, framing, precision, collection) for layer in own}
        files: dict[str, dict] = {}
        lacking: dict[str, int] = {}

        def look(backend: str, of=of, files=files, lacking=lacking) -> None:
            files[backend] = {
                layer: store.vectors({**made, "backend": backend}) if store else MemoryRows()
                for layer, made in of.items()
            }
            lacking[backend] = int(np.any([file.places(rows) < 0 for file in files[backend].values()], axis=0).sum())

        for backend in dict.fromkeys(name for made in of.values() for name in store.backends(made)) if store else ():
            look(backend)
        if 0 not in lacking.values():
            from .engine import backends

            here = backends(model, own, precision)
            for backend in here.keys() - files.keys():
                look(backend)
            lacking = {name: seconds * lacking[name] + start for name, (seconds, start) in here.items()}
        chosen[model.name] = backend = min(lacking, key=lacking.get)
        for layer, made in of.items():
            whole = [name for name in (backend, *files) if (files[name][layer].places(rows) >= 0).all()]
            kept = whole[0] if whole else backend
            held[model.name, layer] = files[kept][layer]
            made_by[model.name, layer] = {**made, "backend": kept}
    return held, made_by, chosen


class Run:
    """One pass over the pictures that lack vectors: decoded once each, batched per model, written as they are done.

    held: the vectors that are there already; rows: the row (N,) of each picture in them, equal for equal bytes, of
    which the first picture is computed. engines: those of an earlier pass over other pictures.
    """

    def __init__(
        self,
        held: Held,
        rows: np.ndarray,
        collection: Collection,
        models: list[Model],
        layers: dict[str, list[str]],
        framing: str,
        precision: str,
        backends: Mapping[str, str],
        engines: dict[str, TorchEngine | OpenVinoEngine] | None = None,
    ):
        self.held, self.rows, self.collection, self.models = held, rows, collection, models
        self.layers, self.framing, self.precision, self.backends = layers, framing, precision, backends
        first = ~pd.Series(rows).duplicated().to_numpy()
        self.lacking = {key: first & (file.places(rows) < 0) for key, file in held.items()}
        """Which pictures (N,) have to be computed, by model and layer."""
        self.missing = {
            name: np.any([self.lacking[name, layer] for layer in own], axis=0) for name, own in layers.items()
        }
        self.wanted = np.flatnonzero(np.any(list(self.missing.values()), axis=0)).tolist()
        self.rejected: dict[str, str] = {}
        self.overflows: dict[str, str] = {}
        """Why a network was given up, by its name."""
        self._waiting: dict[str, list[tuple[int, np.ndarray]]] = {model.name: [] for model in models}
        self._engines = {} if engines is None else engines

    def fetch_weights(self) -> None:
        """Download missing weights, or raise ModelError, before the first picture is decoded."""
        for model in self.models:
            if self.missing[model.name].any() and not model.ready:
                from ..models import load

                load(model)

    def __call__(self, progress: bool) -> None:
        self._bar = tqdm(total=len(self.wanted), desc="extract", unit="picture", delay=1, disable=not progress or None)
        chunks = prepared(self.collection, self.models, self.framing, self.wanted, self.missing)
        try:
            with closing(chunks):
                for places, found in chunks:
                    self._take(places, found)
                    self._forward()
                    self._bar.update(len(places))
            self._forward(rest=True)
        finally:
            self._keep(wait=True)
            for file in self.held.values():
                file.flush()
            self._bar.close()

    def _take(self, places: Sequence[int], found: list[Inputs]) -> None:
        for place, inputs in zip(places, found, strict=True):
            if isinstance(inputs, PictureError):
                self.rejected[self._id(place)] = str(inputs)
                continue
            for name, pixels in inputs.items():
                self._waiting[name].append((place, pixels))

    def _id(self, place: int) -> str:
        return self.collection.table["id"].iat[place]

    def _forward(self, rest: bool = False) -> None:
        """Start all full batches of pictures that wait for a model; with `rest`, also the one that is not full."""
        for model in self.models:
            while waiting := self._waiting[model.name]:
                engine = self._engine(model)
                if len(waiting) < engine.batch and not rest:
                    break
                batch, self._waiting[model.name] = waiting[: engine.batch], waiting[engine.batch :]
                places, pixels = zip(*batch, strict=True)
                engine.submit(places, stacked(pixels, model))
        self._keep()

    def _engine(self, model: Model) -> TorchEngine | OpenVinoEngine:
        if model.name not in self._engines:
            from .engine import engine_for

            backend, layers = self.backends[model.name], self.layers[model.name]
            self._engines[model.name] = engine_for(model, layers, self.precision, backend, self._announce)
        return self._engines[model.name]

    def _announce(self, text: str) -> None:
        """Show next to the progress bar what takes seconds without advancing it."""
        self._bar.delay = 0  # show the bar now if it is not yet visible
        self._bar.set_postfix_str(text)

    def _keep(self, wait: bool = False) -> None:
        """Store the vectors that the engines have computed."""
        for name, engine in self._engines.items():
            for places, vectors in engine.results(wait):
                self.take(name, places, vectors)

    def take(self, name: str, places: Sequence[int], vectors: Mapping[str, np.ndarray]) -> None:
        """Store the vectors of a model, layer -> (B, D), for the pictures at these places that have none yet."""
        if self.precision == "float16":
            self._give_up_if_too_large(name, places, vectors)
        if name in self.overflows:
            return
        self._reject_unusable(name, places, vectors)
        usable = np.array([self._id(place) not in self.rejected for place in places], dtype=bool)
        places = np.asarray(places, dtype=np.int64)
        for layer in self.layers[name]:
            lacking = self.lacking[name, layer]
            new = usable & lacking[places]
            if new.any():
                self.held[name, layer].append(self.rows[places[new]], vectors[layer][new])
                lacking[places[new]] = False

    def _reject_unusable(self, name: str, places: Sequence[int], vectors: Mapping[str, np.ndarray]) -> None:
        """Reject pictures whose vectors are zero, NaN or infinite: no index could be built with them."""
        for layer, values in vectors.items():
            finite = np.isfinite(values).all(axis=1)
            for row in np.flatnonzero(~finite | ~values.any(axis=1)):
                what = "only zeros" if finite[row] else "NaN or infinite values"
                self.rejected[self._id(places[row])] = f"{name} gives {what} at {layer}"

    def _give_up_if_too_large(self, name: str, places: Sequence[int], vectors: Mapping[str, np.ndarray]) -> None:
        """Compute no more with a network whose values are too large for float16: no picture is at fault."""
        for layer, values in vectors.items():
            for row in np.flatnonzero(~np.isfinite(values).all(axis=1))[:1]:
                where = f"the values of {name} at {layer} for {self._id(places[row])!r}"
                self.overflows[name] = f"{where} are too large for float16: use the precision bfloat16 or float32"
                self.missing[name][:] = False
                self._waiting[name].clear()


def _without(collection: Collection, rejected: dict[str, str]) -> Collection:
    """Move pictures of a collection to its table of rejected pictures, with the reasons."""
    if len(rejected) == len(collection):
        id, reason = next(iter(rejected.items()))
        raise AmulsearchError(f"none of the {len(rejected)} pictures can be used, for example {id}: {reason}")
    rows = [*collection.rejected.to_dict("records"), *({"id": i, "reason": why} for i, why in rejected.items())]
    kept = collection.subset(id for id in collection.ids if id not in rejected)
    rejected = plain_text(pd.DataFrame(rows).sort_values("id", ignore_index=True))
    return replace(kept, rejected=rejected, part=collection.part)
