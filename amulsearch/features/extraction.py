"""Feature extraction: any layers of any networks over a collection; a store keeps what was computed."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pandas as pd

from .. import models as model_table
from ..errors import AmulsearchError, ModelError, QueryError
from ..intake import MOVED, Collection, plain_text
from ..models import FRAMINGS, Model, canonical_layer, layer_names
from ..store import MemoryRows, Store
from .converted import ConversionError
from .features import Features, FeatureSet, fingerprint
from .run import Files, Run, Work


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
        ":mean" (the default) or ":gem", see `models.pool`. "standard" stands for those that most questions need, see
        `models.standard_layers`; to ask for all layers at once saves time.
    framing : {"pad", "crop", "squash"}
        See `models.resize_image`.
    precision : {"float32", "bfloat16", "float16", "auto"}
        The type in which networks compute. "bfloat16" and "float16" are up to several times faster if the processor
        or the GPU supports them; the neighbours differ slightly. "auto" is the fastest on this machine.
    store : path or Store, optional
        A folder that keeps the vectors, so that the next run computes only new and changed pictures.
    runner : callable, optional
        Does the work; by default, this process does. `RayRunner` distributes it over processes and machines.
    progress : bool, default True

    Returns
    -------
    FeatureSet
        `result[model, layer]` is a `Features` with vectors of shape (N, D), float32.

    Examples
    --------
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)[:10]
    >>> features = am.extract(birds, "squeezenet1_1", progress=False)
    >>> features["squeezenet1_1", "penultimate"].vectors.shape
    (10, 512)
    """
    if not isinstance(collection, Collection):
        kind = type(collection).__name__
        raise QueryError(f"extract takes a Collection, not {kind}: make one with Collection.from_folder(folder)")
    if framing not in FRAMINGS:
        raise QueryError(f"unknown framing {framing!r}: use one of {', '.join(FRAMINGS)}")
    if store is not None and not isinstance(store, Store):
        store = Store(store)
    if precision != "float32":
        from .engine import resolve_precision

        precision = resolve_precision(precision)
    work = _work(models, layers, framing, precision, store is not None)
    with store.lock() if store is not None else nullcontext():
        while True:
            try:
                return _extract(collection, work, store, runner or Run.__call__, progress)
            except ConversionError as error:  # the next round takes torch for this network
                print(error, file=sys.stderr)


def _work(models, layers, framing: str, precision: str, stored: bool) -> Work:
    """The models and layers that `extract` was given, checked and by their full names."""
    records = model_table.get_all(models)
    for model in records if stored else ():
        if not model.versioned:
            raise ModelError(
                f"{model.name} has no version, by which a store tells its code from other code: give am.models.own a "
                "version=, another one whenever the code changes, or extract without a store"
            )
    full = {model.name: _full_layers(model, layers) for model in records}
    if isinstance(layers, Mapping) and (others := [name for name in layers if name not in full]):
        raise QueryError(f"there are layers for {others[0]!r}, which is none of the models {', '.join(full)}")
    if not records or not all(full.values()):
        raise QueryError("give at least one model, and at least one layer of each")
    return Work(records, full, framing, precision)


def _full_layers(model: Model, layers) -> list[str]:
    names = layers.get(model.name, ()) if isinstance(layers, Mapping) else layers
    full = []
    for layer in layer_names(model_table.main_layers(model) if names is None else names):
        full += model_table.standard_layers(model) if layer == "standard" else [canonical_layer(layer)]
    return list(dict.fromkeys(full))


def _extract(collection: Collection, work: Work, store: Store | None, runner, progress) -> FeatureSet:
    """Do the work of `extract`, with checked arguments and the store locked."""
    if store is None:
        rows, numbers = None, collection.table["digest"].factorize()[0]
    else:
        rows = store.register(collection)
        numbers = store.contents(rows)
    work, files, fingerprints = _plan(collection, work, store, np.unique(numbers))
    run = Run(work, collection, numbers, files)
    if run.wanted and not collection.folder.is_dir():
        raise AmulsearchError(f"{collection.folder} is not there; {MOVED}")
    run.fetch_weights()
    if run.wanted:
        runner(run, progress)
    if len(run.overflows) == len(work.models):
        raise ModelError(next(iter(run.overflows.values())))
    for name, reason in run.overflows.items():
        print(f"{name} is left out: {reason}", file=sys.stderr)
    fingerprints = {key: made_by for key, made_by in fingerprints.items() if key[0] not in run.overflows}
    usable = ~np.isin(numbers, list(run.rejected))  # of a picture that is rejected, all with the same bytes are
    reasons = zip(collection.ids, numbers.tolist(), strict=True)
    rejected = {id: run.rejected[number] for id, number in reasons if number in run.rejected}
    collection, numbers = _without(collection, rejected), numbers[usable]
    if store is not None:  # until here, the store holds its previous collection and features
        store.save_collection(collection, rows[usable], current=fingerprints.values())
    ids, labels, digests = collection.ids, collection.labels, collection.table["digest"].tolist()
    records = {model.name: model for model in work.models}
    features = {
        (name, layer): Features(files[name, layer].take(numbers), ids, labels, made_by, digests, (records[name],))
        for (name, layer), made_by in fingerprints.items()
    }
    return FeatureSet(collection, features, extracted=len(run.wanted) - len(run.rejected))


def _plan(
    collection: Collection, work: Work, store: Store | None, numbers: np.ndarray
) -> tuple[Work, Files, dict[tuple[str, str], dict]]:
    """The work with its backends, the file of each model and layer for pictures of these numbers, its fingerprint.

    The backend is part of the fingerprint. If the store has all vectors of a layer from one, they are taken, whether or
    not it could run here: indexes were built with them. The other layers come from the one with which they are done
    soonest.
    """
    files: Files = {}
    fingerprints, backends = {}, {}
    for model in work.models:
        wanted = {
            layer: fingerprint(model, layer, work.framing, work.precision, collection)
            for layer in work.layers[model.name]
        }
        backend, by_backend = _backend(model, wanted, work.precision, store, numbers)
        backends[model.name] = backend
        for layer, made_by in wanted.items():
            whole = (name for name in (backend, *by_backend) if not _lacking([by_backend[name][layer]], numbers))
            source = next(whole, backend)
            files[model.name, layer] = by_backend[source][layer]
            fingerprints[model.name, layer] = {**made_by, "backend": source}
    return replace(work, backends=backends), files, fingerprints


def _backend(
    model: Model, wanted: Mapping[str, dict], precision: str, store: Store | None, numbers: np.ndarray
) -> tuple[str, dict[str, dict]]:
    """The backend for a network, and the files by backend and layer: one that is done, or that will be soonest."""

    def opened(backend: str) -> dict:
        return {
            layer: store.vectors({**made_by, "backend": backend}) if store else MemoryRows()
            for layer, made_by in wanted.items()
        }

    stored = [name for made_by in wanted.values() for name in store.backends(made_by)] if store else []
    files = {name: opened(name) for name in dict.fromkeys(stored)}
    lacking = {name: _lacking(by_layer.values(), numbers) for name, by_layer in files.items()}
    if 0 in lacking.values():
        return min(lacking, key=lacking.get), files
    from .engine import backends

    here = backends(model, list(wanted), precision)
    files |= {name: opened(name) for name in here if name not in files}
    cost = {name: seconds * _lacking(files[name].values(), numbers) + start for name, (seconds, start) in here.items()}
    return min(cost, key=cost.get), files


def _lacking(files, numbers: np.ndarray) -> int:
    """How many pictures are not in all of these files."""
    return int(np.any([file.places(numbers) < 0 for file in files], axis=0).sum())


def _without(collection: Collection, rejected: dict[str, str]) -> Collection:
    """Move pictures of a collection to its table of rejected pictures, with the reasons."""
    if not rejected:
        return collection
    if len(rejected) == len(collection):
        id, reason = next(iter(rejected.items()))
        raise AmulsearchError(f"none of the {len(rejected)} pictures can be used, for example {id}: {reason}")
    rows = [*collection.rejected.to_dict("records"), *({"id": i, "reason": why} for i, why in rejected.items())]
    kept = collection.subset(id for id in collection.ids if id not in rejected)
    rejected = plain_text(pd.DataFrame(rows).sort_values("id", ignore_index=True))
    return replace(kept, rejected=rejected, part=collection.part)
