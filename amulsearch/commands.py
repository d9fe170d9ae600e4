"""The commands of the command line, each a function of its parsed options."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path

import pandas as pd

from . import models
from .errors import QueryError, StoreError, check_k, one_line
from .features import Features, FeatureSet, extract, preset
from .index import (
    LIKELY,
    AnnoyIndex,
    DiffusionIndex,
    Index,
    NoveltyTest,
    encoded,
    is_current,
    novelty_told,
    unlikely_from,
)
from .index import check_store as verify
from .intake import Collection, copy_pictures, near_names, open_image
from .measure import Judgements, Relevance, calibrated, evaluate, fuse, recommend
from .store import Store
from .views import writable, write_report

DEPTH = 100
"""The number of neighbours of each model to fuse; "vote" uses its own default of 10."""


def list_models(options: Namespace) -> None:
    """Print the table of networks."""
    table = models.table()
    if options.json:
        _print_json(table.to_dict("records"))
        return
    table["ready"] = table["ready"].map({True: "ready", False: "to download"})
    print(table.drop(columns="file").to_string(index=False))


def index_folder(options: Namespace) -> None:
    """Extract the features of a folder and index them in a store."""
    collection = Collection.from_folder(options.folder)
    store = Store(options.store)
    with store.lock():  # from the first vector to the last index
        _index(collection, store, options)


def _index(collection: Collection, store: Store, options: Namespace) -> None:
    how = {"framing": options.framing, "precision": options.precision, "store": store}
    if options.preset:
        recipe = preset(options.models)
        layers = recipe.layers_of(collection, **how)
        _build(store, f"preset {recipe.name}", DiffusionIndex, recipe.reduced(layers))
        _report_rejected(store.collection([]).rejected)
        print(f"{len(layers[0])} pictures indexed with the preset {recipe.name}, in {store.folder}")
        return
    features = extract(collection, options.models, options.layers and options.layers.split(","), **how)
    built = sum(_build(store, " ".join(key), AnnoyIndex, made) for key, made in features.items())
    _report_rejected(features.rejected)
    print(
        f"{len(features.collection)} pictures, {len(features.rejected)} rejected, {features.extracted} extracted, "
        f"{built} of {len(features)} indexes built, in {store.folder}"
    )


def _build(store: Store, name: str, kind: type[Index], made: Features | list[Features]) -> bool:
    """Build, calibrate and save an index, unless the stored one is of the same features."""
    made_by = made.fingerprint if isinstance(made, Features) else DiffusionIndex.fingerprint_of(made)
    try:
        index = kind.open_in(store, name)
        new = index.fingerprint != made_by or not is_current(store, name)
    except StoreError:
        new = True  # missing, damaged or outdated
    if not new and (index.calibration or not calibrated(index).calibration):
        return False
    calibrated(kind.build(made)).save_in(store, name)
    return new


def _report_rejected(rejected: pd.DataFrame, most: int = 20) -> None:
    for row in rejected.head(most).itertuples():
        print(f"rejected {one_line(row.id)}: {one_line(row.reason)}", file=sys.stderr)
    if len(rejected) > most:
        print(f"... and {len(rejected) - most} more", file=sys.stderr)


def query_store(options: Namespace) -> None:
    """Print or draw the nearest neighbours of a picture."""
    store = Store.open(options.store)
    indexes = _open_indexes(store, options)
    query, most = _as_query(options.query, store), min(map(len, indexes.values()))
    k = check_k(options.k, most - isinstance(query, str), "pictures to choose from")
    asked, p_value = dict.fromkeys(indexes, query), None
    if not isinstance(query, str):
        test = _novelty(store, indexes, options.preset)
        vectors = encoded([*indexes.values(), *test.parts], query)  # one pass of each network for both
        asked, p_value = dict(zip(indexes, vectors, strict=False)), test.p_value(vectors[len(indexes) :])
    find = lambda depth: {name: index.query(asked[name], depth) for name, index in indexes.items()}  # noqa: E731
    if options.fuse is None:
        lists = find(k)
        tables = list(lists.values())
    else:
        depth = min(max(k, 10 if options.fuse == "vote" else DEPTH), most - isinstance(query, str))
        fused = fuse(find(depth), options.fuse, k=k)
        lists, tables = {f"{options.fuse} of {len(indexes)}": fused}, [fused]
    shown = {id for table in tables for id in table["id"]} | ({query} if isinstance(query, str) else set())
    collection = store.collection(sorted(shown))
    if options.copy_to:
        results = list(dict.fromkeys(id for table in tables for id in table["id"]))
        copied = copy_pictures(collection, results, options.copy_to)
        print(f"{len(copied)} pictures in {options.copy_to}", file=sys.stderr)
    if options.grid:
        from .views import plot

        figure = plot.model_grid(collection, query, lists)
        try:
            figure.savefig(options.grid, dpi=150)
        except (ValueError, OSError) as error:
            raise QueryError(f"the grid cannot be written to {options.grid}: {error}") from None
        print(options.grid)
    elif options.json:
        results = [entry for table in tables for entry in _entries(table, collection)]
        _print_json({"query": options.query, "results": results, **({} if p_value is None else {"p_value": p_value})})
    else:
        for name, table in lists.items():
            columns = [name for name in ("rank", "id", "distance", "score", "probability", "label") if name in table]
            print(f"{name}\n{table[columns].to_string(index=False, float_format='%.3f')}")
            if unlikely := unlikely_from(table):
                print(f"from rank {unlikely} on, nothing is likely to fit: the probability is below {LIKELY}")
            print()
        if p_value is not None:
            print(novelty_told(p_value))


def evaluate_store(options: Namespace) -> None:
    """Print how well the stored features retrieve relevant pictures."""
    store = Store.open(options.store)
    collection = store.collection()
    if options.judgements:
        relevance = Relevance.from_judgements(collection.ids, Judgements(options.judgements).table)
        missing = "no picture was judged relevant to another: judge some results first"
    else:
        relevance = Relevance.from_labels(collection.ids, collection.labels)
        missing = "no two pictures have the same label: sort the pictures into folders"
    if not len(relevance.queries):
        raise QueryError(missing)
    systems = []
    if options.preset:
        index = _open_preset(store, options.preset)
        found = {(options.preset, index.fingerprint["layer"]): index}
    else:
        found = FeatureSet.open(store)
        for model, layer in store.current().keys() - found.keys():
            print(
                f"{model} {layer} is left out: it does not cover all pictures; index the folder again", file=sys.stderr
            )
    for (model, layer), system in found.items():
        result = evaluate(system, relevance)
        low, high = result.interval("AP")
        mean = result.mean()
        systems.append({"model": model, "layer": layer, **mean.to_dict(), "mAP_low": low, "mAP_high": high})
    if options.json:
        asked = {"queries": len(result.per_query), "excluded": result.excluded}
        _print_json({**asked, "systems": systems})
        return
    print(f"{len(result.per_query)} queries, {result.excluded} excluded because they have no relevant picture")
    print(pd.DataFrame(systems).to_string(index=False, float_format="%.3f"))


def report_folder(options: Namespace) -> None:
    """Write a page about a folder and print its path."""
    print(write_report(options.folder, options.output, models=options.models, k=options.k, store=options.store))


def carry_weights(options: Namespace) -> None:
    """Write weights to a file, or take them from one, and print which."""
    if options.way == "export":
        carried = models.export_weights(options.models, options.file)
    else:
        carried = models.import_weights(options.file)
    for entry in carried:
        print(f"{entry['model']}  {entry['file']}  {entry['bytes'] / 1e6:.1f} MB  {entry['licence']}")


def compare_systems(options: Namespace) -> None:
    """Print which network, layer or fusion to use for a folder, and write a page about it."""
    if options.output:
        writable(options.output)  # before anything is computed
    collection = Collection.from_folder(options.folder)
    found = recommend(collection, options.models, sample=options.sample, store=options.store)
    if options.output:
        from .views import comparison_page  # imports matplotlib

        comparison_page(found).save(options.output)
    if options.json:
        systems = found.table.to_dict("records")
        about = {"pictures": len(found.pictures), "measure": found.measure}
        about |= {"system": found.system, "advice": found.advice}
        _print_json({**about, "systems": systems})
        return
    print(f"{found}\n\n{_to_use(found.system, options.folder)}")
    if options.output:
        print(options.output)


def _to_use(system: str, folder: str) -> str:
    """The commands that use a system of `recommend`."""
    name, _, layer = system.rpartition(" ")
    index, query = f"Next: amulsearch index {folder} --store DIR", "amulsearch query IMAGE --store DIR"
    if name == "preset":
        return f"{index} --preset {layer}\n      {query} --preset {layer}"
    method, _, several = name.partition(" of ")
    if several:
        return f"{index} --layers {layer}\n      {query} --layer {layer} --fuse {method}"
    return f"{index} --models {name} --layers {layer}\n      {query}"


def _open_indexes(store: Store, options: Namespace) -> dict[str, Index]:
    """The indexes to query, by model, all of one layer; or that of a preset."""
    names, layer = options.models, options.layer
    if options.preset:
        if names or layer or options.fuse:
            raise QueryError("leave out --models, --layer and --fuse: the preset determines them")
        return {options.preset: _open_preset(store, options.preset)}
    stored = [key for key in store.current() if " ".join(key) in store.indexes]
    layers = list(dict.fromkeys(key[1] for key in stored))
    if not stored:
        raise StoreError(f"{store.folder} holds no index: run `amulsearch index FOLDER --store {store.folder}`")
    layer = layer or ("penultimate" if "penultimate" in layers else layers[0])
    having = [model for model, of in stored if of == layer]
    wanted = [str(name) for name in models.names_of(names)] if names else having
    missing = [name for name in wanted if name not in having]
    if missing or not wanted:
        has = "; ".join(" ".join(key) for key in stored)
        raise StoreError(f"{store.folder} has no index of {', '.join(missing) or 'any model'} {layer}; it has {has}")
    old = [name for name in wanted if not is_current(store, f"{name} {layer}")]
    if old:
        raise StoreError(f"the collection has changed since {', '.join(old)} was indexed: run `amulsearch index` again")
    return {name: AnnoyIndex.open_in(store, f"{name} {layer}") for name in wanted}


def _open_preset(store: Store, name: str) -> DiffusionIndex:
    folder = store.collection([]).folder
    command = f"run `amulsearch index {folder} --store {store.folder} --preset {name}`"
    if f"preset {name}" not in store.indexes:
        raise StoreError(f"the preset {name} is not indexed: {command}")
    if not is_current(store, f"preset {name}"):
        raise StoreError(f"the collection has changed since {name} was indexed: {command}")
    return DiffusionIndex.open_in(store, f"preset {name}")


def _novelty(store: Store, indexes: dict[str, Index], name: str | None) -> NoveltyTest:
    """The test of whether a picture is like the collection: by the networks of the query, without what was fitted."""
    if name is None:
        return NoveltyTest.build(list(indexes.values()), sample=400)
    stored = FeatureSet.open(store)
    reduced = [layer for part in indexes[name].fingerprint["of"] for layer in part["of"]]
    return NoveltyTest.build([stored[key] for key in dict.fromkeys((of["model"], of["layer"]) for of in reduced)])


def _as_query(query: str, store: Store):
    """The id if the argument names a picture of the collection, by id or by path; else the opened picture."""
    collection = store.collection([query])
    if query in collection:
        return query
    if not Path(query).exists():
        near = near_names(query, store.collection().ids)
        meant = f": did you mean {' or '.join(near)}?" if near else ""
        raise QueryError(f"{query!r} is neither a file nor an id of the collection {collection.folder}{meant}")
    ids = store.collection(collection.ids_of(query)).ids
    return ids[0] if ids else open_image(query, background=collection.background, max_pixels=collection.max_pixels)


def check_store(options: Namespace) -> int:
    """Print each problem of a store on a line; return 1 if there is any."""
    findings = verify(options.store, repair=options.repair)
    for finding in findings.itertuples():
        print(one_line(f"{finding.part}: {finding.finding}: {finding.remedy}"))
    if findings.empty:
        store = Store.open(options.store)
        print(
            f"no problem found in {store.folder}: {len(store.rows())} pictures, {len(store.current())} "
            f"features, {len(store.indexes.names())} indexes"
        )
    return 0 if findings.empty else 1


def _entries(table: pd.DataFrame, collection: Collection) -> list[dict]:
    """The rows of a table of neighbours in the format of `query --json`."""
    told = [name for name in ("distance", "score", "probability") if name in table]
    return [
        {
            "rank": int(row["rank"]),
            "id": row["id"],
            "path": str(collection.path(row["id"])),
            **{name: float(row[name]) for name in told},
            "model": row["model"],
            "layer": row["layer"],
        }
        for row in table.to_dict("records")
    ]


def _print_json(content: object) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=1)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:  # write characters that the output cannot encode as \\uXXXX
        text = json.dumps(content, indent=1)
    print(text)
