"""The commands of the command line, each a function of its parsed options."""

from __future__ import annotations

import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from . import measure, models, views  # what a command does not use of these is not loaded
from .cli import PRESETS
from .errors import QueryError, StoreError, check_k, one_line
from .features import Features, FeatureSet, Words, extract, preset
from .index import (
    LIKELY,
    DiffusionIndex,
    ExactIndex,
    Index,
    KeywordIndex,
    NoveltyTest,
    default_kind,
    encoded,
    is_current,
    novelty_told,
    open_default,
    query_all,
    query_class,
    unlikely_from,
)
from .index import check_store as verify
from .intake import Collection, copy_pictures, did_you_mean, open_image
from .store import Store

DEPTH, DEPTHS = 100, {"vote": 10}
"""The number of neighbours of each model to fuse, and of the methods for which another is usual."""

FUSION, FUSIONS = "combsum", ("vote", "combsum")
"""The fusion that answers where no preset is indexed, the most accurate one (docs/measurements.md), and those that
`evaluate` measures beside the networks: the post's as well."""


def list_models(options: Namespace) -> None:
    """Print the table of networks."""
    table = models.table()
    if options.json:
        _print_json(table.astype(object).where(table.notna(), None).to_dict("records"))
        return
    table["ready"] = table["ready"].map({True: "ready", False: "to download"})
    print(_aligned(table.drop(columns="file")))
    print("MB: the file of the weights; ImageNet: top-1 accuracy in %, as torchvision states it")
    print("ms: processor time for a picture; P@5, mAP: of the penultimate layer, on the bundled cartoons")


def index_folder(options: Namespace) -> None:
    """Extract the features of a folder and index them in a store."""
    _say(f"scanning {options.folder}")
    collection = Collection.from_folder(options.folder, keywords=options.keywords)
    store = Store(options.store)
    with store.lock():  # from the first vector to the last index
        found = _index(collection, store, options)
    query = f"amulsearch query {_as_argument(found.ids[0])} --store {_as_argument(options.store)}"
    print(f"Next: {query}")


def _index(collection: Collection, store: Store, options: Namespace) -> Collection:
    """Return the collection without the pictures that cannot be used."""
    how = {"framing": options.framing, "precision": options.precision, "store": store}
    _say(f"{len(collection)} pictures: loading networks, extracting features")
    if options.preset:
        recipe = preset(options.models)
        layers = recipe.layers_of(collection, **how)
        _say(f"linking the pictures for the preset {recipe.name}")
        _build(store, f"preset {recipe.name}", DiffusionIndex, recipe.reduced(layers))
        found = store.collection()
        _report_rejected(found.rejected)
        print(f"{len(found)} pictures indexed with the preset {recipe.name}, in {store.folder}")
        return found
    features = extract(collection, options.models, options.layers and options.layers.split(","), **how)
    kind, bar = default_kind(), tqdm(features.items(), desc="index", unit="layer", delay=1)
    built = sum(_build(store, " ".join(key), kind, made) for key, made in bar)
    _report_rejected(features.rejected)
    print(
        f"{len(features.collection)} pictures, {len(features.rejected)} rejected, {features.extracted} extracted, "
        f"{built} of {len(features)} indexes built "
        f"{'for exact search, as annoy is not installed' if kind is ExactIndex else 'with Annoy'}, in {store.folder}"
    )
    return features.collection


def _say(text: str) -> None:
    """Tell what begins now, before the first progress bar."""
    with suppress(OSError):  # standard error may be a file on a full disk
        print(one_line(text), file=sys.stderr, flush=True)


def _as_argument(text: object) -> str:
    """A text as it is typed in a shell."""
    return one_line(shlex.quote(str(text)))


def _build(store: Store, name: str, kind: type[Index], made: Features | list[Features]) -> bool:
    """Build, calibrate and save an index, unless the stored one is of the same features."""
    made_by = made.fingerprint if isinstance(made, Features) else DiffusionIndex.fingerprint_of(made)
    try:
        index = kind.open_in(store, name)
        new = index.fingerprint != made_by or not is_current(store, name)
    except StoreError:
        new = True  # missing, damaged or outdated
    if not new and (index.calibration or not measure.calibrated(index).calibration):
        return False
    measure.calibrated(kind.build(made)).save_in(store, name)
    return new


def _report_rejected(rejected: pd.DataFrame, most: int = 20) -> None:
    for row in rejected.head(most).itertuples():
        print(f"rejected {one_line(row.id)}: {one_line(row.reason)}", file=sys.stderr)
    if len(rejected) > most:
        print(f"... and {len(rejected) - most} more", file=sys.stderr)


def query_store(options: Namespace) -> None:
    """Print or draw the nearest neighbours of a picture, or of words."""
    if options.text is not None:
        return query_words(options)
    if options.query is None:
        raise QueryError("give a picture, an id of the collection, or words: --text WORDS")
    if options.avoid:
        raise QueryError("--avoid goes with --text: give words to look for")
    store = Store.open(options.store)
    indexes = _open_indexes(store, options)
    answer = None if options.json or options.grid or options.fuse else _open_answer(store, indexes, options)
    asked_all = {**indexes, **(answer or {})}
    query, most = _as_query(options.query, store), min(map(len, asked_all.values()))
    most -= isinstance(query, str)
    k = check_k(options.k, most, "pictures to choose from")
    asked, p_value = dict.fromkeys(asked_all, query), None
    if not isinstance(query, str):
        test = _novelty(store, indexes, options.preset)
        vectors = encoded([*asked_all.values(), *test.parts], query)  # one pass of each network for all
        asked, p_value = dict(zip(asked_all, vectors, strict=False)), test.p_value(vectors[len(asked_all) :])
    find = lambda which, depth: {name: index.query(asked[name], depth) for name, index in which.items()}  # noqa: E731
    fused = lambda method: measure.fuse(find(indexes, min(max(k, DEPTHS.get(method, DEPTH)), most)), method, k=k)  # noqa: E731
    if options.fuse:
        lists = {f"{options.fuse} of {len(indexes)}": fused(options.fuse)}
    else:
        lists = find(indexes, k)
        if answer is not None:
            together = find(answer, k) or {f"{FUSION} of {len(indexes)}": fused(FUSION)}
            lists = {**together, **lists}
    drawn = query if isinstance(query, str) else Path(options.query)
    about = {"query": options.query} | ({} if p_value is None else {"p_value": p_value})
    _show(store, lists, drawn, about, options)
    if p_value is not None and not (options.grid or options.json):
        print(novelty_told(p_value))


def query_words(options: Namespace) -> None:
    """Print or draw the pictures that words find: by text towers, else by keywords, else by ImageNet's classes."""
    if options.preset:
        raise QueryError("leave out --preset: words are compared with single networks, or with keywords")
    store = Store.open(options.store)
    k = check_k(options.k, options.k)
    words = Words(options.text, options.avoid or "")
    given = None if options.query is None else _as_query(options.query, store)
    collection = store.collection()
    depth = max(1, min(max(k, DEPTH), len(collection) - 1))
    if towers := [name for name, layer in store.current() if layer == "penultimate" and models.reads_words(name)]:
        pictures = () if given is None else (collection.open(given) if isinstance(given, str) else given,)
        words = replace(words, pictures=pictures)
        chosen = Namespace(models=",".join(towers), layer="penultimate", preset=None, fuse=None)
        lists, how = query_all(_open_indexes(store, chosen), words, depth), "by the text tower"
    elif "keywords" in collection.table:
        most = depth if given is None else len(collection)
        found = KeywordIndex(collection).query(words.text, most, avoid=words.avoid)
        lists, how = {"keywords": found}, "by the keywords of the pictures"
    else:
        lists, how = _by_classes(store, words, depth), "by ImageNet's classes, as there are no keywords"
    if given is not None and not towers:
        ids = dict.fromkeys(id for table in lists.values() for id in table["id"] if id != given)
        if not ids:
            raise QueryError(f"no picture but {given!r} itself fits the words {words.text!r}: look for others")
        lists, how = _most_like(given, list(ids), store, options), f"{how}, and among these by the picture"
    if options.fuse:
        lists = {f"{options.fuse} of {len(lists)}": measure.fuse(lists, options.fuse)}
    elif len(lists) > 1 and not (options.json or options.grid):
        lists = {f"{FUSION} of {len(lists)}": measure.fuse(lists, FUSION), **lists}
    lists = {name: table[table["id"] != given].head(k) for name, table in lists.items()}
    if not options.json:
        _say(f"found {how}")
    _show(store, lists, words, {"query": options.query, "text": words.text, "how": how}, options)


def _most_like(given, ids: list[str], store: Store, options: Namespace) -> dict[str, pd.DataFrame]:
    """These pictures by their distance from a picture, for each network."""
    features = FeatureSet.open(store)
    layer = options.layer or _usual([layer for _, layer in features])
    names = models.names_of(options.models) if options.models else [name for name, of in features if of == layer]
    if not names:
        has = list(dict.fromkeys(layer for _, layer in features))
        raise StoreError(f"{store.folder} has no layer {layer}{did_you_mean(layer, has)}; it has {', '.join(has)}")
    lists = {}
    for name in names:
        query = features[name, layer].vector(given) if isinstance(given, str) else given
        found = ExactIndex.build(features[name, layer]).query(query, k=len(features.collection) - 1)
        found = found[found["id"].isin(ids)]
        lists[name] = found.assign(rank=range(1, len(found) + 1))
    return lists


def _by_classes(store: Store, words: Words, depth: int) -> dict[str, pd.DataFrame]:
    features = FeatureSet.open(store)
    known = [key for key in features if key[1] == "logits" and models.get(key[0]).classes == 1000]
    if not known or words.avoid:
        raise QueryError(
            "there are neither keywords nor a network with a text tower: index again with --keywords FILE.csv, or with "
            "--models open_clip/REPOSITORY"
        )
    return {name: query_class(features[name, layer], words.text, depth) for name, layer in known}


def _show(store: Store, lists: Mapping[str, pd.DataFrame], query, about: dict, options: Namespace) -> None:
    """Print or draw lists of neighbours of a query (an id, a path or words) as the options say."""
    tables = list(lists.values())
    shown = {id for table in tables for id in table["id"]} | ({query} if isinstance(query, str) else set())
    collection = store.collection(sorted(shown))
    if options.copy_to:
        results = list(dict.fromkeys(id for table in tables for id in table["id"]))
        copied = copy_pictures(collection, results, options.copy_to)
        print(f"{len(copied)} pictures in {options.copy_to}", file=sys.stderr)
    if options.grid:
        _draw(collection, query, lists, options.grid)
        print(options.grid)
    elif options.json:
        results = [entry for table in tables for entry in _entries(table, collection)]
        _print_json({"query": about.pop("query"), "results": results, **about})
    else:
        _print_lists(lists, collection)


def _open_answer(store: Store, indexes: Mapping[str, Index], options: Namespace) -> dict[str, Index] | None:
    """The preset, if it can answer for all networks together; empty if a fusion of their indexes has to; None if there
    is nothing to combine."""
    chosen = options.preset or options.models or options.layer
    for name in () if chosen else _presets(store):
        if name not in indexes:  # else it is all that there is
            return {f"preset {name}": _open_preset(store, name)}
    return {} if len(indexes) > 1 else None


def _presets(store: Store) -> list[str]:
    """The presets that are indexed; one that lacks pictures is told and left out."""
    indexed = [name for name in PRESETS if f"preset {name}" in store.indexes]
    current = [name for name in indexed if is_current(store, f"preset {name}")]
    for name in set(indexed) - set(current):
        print(f"the preset {name} is left out: the collection has changed since it was indexed", file=sys.stderr)
    return current


def _draw(collection: Collection, query: str | Path, lists: Mapping[str, pd.DataFrame], file: str) -> None:
    """Draw a column for each list, or a row if there is only one."""
    from .views import plot

    if len(lists) > 1:
        figure = plot.model_grid(collection, query, lists)
    else:
        (name, table), *_ = lists.items()
        figure = plot.query_grid(collection, query, table, title=name)
    try:
        figure.savefig(file, dpi=150)
    except (ValueError, OSError) as error:
        raise QueryError(f"the grid cannot be written to {file}: {error}") from None


def _print_lists(lists: Mapping[str, pd.DataFrame], collection: Collection) -> None:
    """Print lists of neighbours; of several, the first is the answer of all networks together."""
    for place, (name, table) in enumerate(lists.items()):
        better = "the greater the score, the better" if "score" in table else "the smaller the distance, the nearer"
        if place == 1:
            print(f"Each network alone: {better}.\n")
        told = f"{name}, all networks together: {better}" if len(lists) > 1 else f"{name}: {better}"
        print(name if place else told)
        print(_aligned(_shown(table, collection)))
        if unlikely := unlikely_from(table):
            print(f"from rank {unlikely} on, nothing is likely to fit: the probability is below {LIKELY}")
        print()


def _shown(table: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    """The columns of a table of neighbours that a person reads, with paths to paste into a shell."""
    columns = [name for name in ("rank", "distance", "score", "probability", "votes", "label") if name in table]
    folders = [id.rpartition("/")[0] or None for id in table["id"]]
    if table["label"].tolist() == folders:  # the path says it
        columns.remove("label")
    return table[columns].assign(path=[_pasted(collection.path(id)) for id in table["id"]])


def _pasted(path: Path) -> str:
    """A path as a person can paste it into a shell: from the working directory on, if it is below that."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return _as_argument(path)


def _aligned(table: pd.DataFrame) -> str:
    """A table as text: numbers to the right, with three decimals at most, and text to the left."""
    columns = []
    for name in table:
        number = table[name].dtype.kind in "iuf"
        decimals = 3 if number and table[name].max() < 10 else 1
        cells = [f"{cell:.{decimals}f}" if isinstance(cell, float) else str(cell) for cell in table[name]]
        cells = [name, *("" if pd.isna(cell) else told for cell, told in zip(table[name], cells, strict=True))]
        width = max(map(len, cells))
        columns.append([cell.rjust(width) if number else cell.ljust(width) for cell in cells])
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def evaluate_store(options: Namespace) -> None:
    """Print how well the stored features retrieve relevant pictures."""
    store = Store.open(options.store)
    collection = store.collection()
    if options.judgements:
        relevance = measure.Relevance.from_judgements(collection.ids, measure.Judgements(options.judgements).table)
        missing = "no picture was judged relevant to another: judge some results first"
    else:
        relevance = measure.Relevance.from_labels(collection.ids, collection.labels)
        missing = "no two pictures have the same label: sort the pictures into folders"
    if not len(relevance.queries):
        raise QueryError(missing)
    found = _systems(store, options.preset)
    systems = []
    for (model, layer), system in tqdm(found.items(), desc="evaluate", unit="system", delay=1):
        result = measure.evaluate(system, relevance)
        low, high = result.interval("AP")
        mean = result.mean()
        systems.append({"model": model, "layer": layer, **mean.to_dict(), "mAP_low": low, "mAP_high": high})
    systems.sort(key=lambda system: -system["mAP"])
    asked = {"queries": len(result.per_query), "excluded": result.excluded}
    if not options.judgements:
        asked["chance"] = measure.chance_level(collection.labels)
    if options.json:
        _print_json({**asked, "systems": systems})
        return
    print(f"{asked['queries']} queries, {asked['excluded']} excluded because they have no relevant picture")
    if "chance" in asked:
        print(f"chance level: {asked['chance']:.3f}, the P@1 and P@5 of random neighbours")
    shown = pd.DataFrame(systems)
    shown["model"] = [f"preset {name}" if name in PRESETS else name for name in shown["model"]]
    print(_aligned(shown))
    if any(system["model"].startswith("vote of ") for system in systems):
        print("vote ranks no more than the first 10 neighbours of each network: compare its P@1 and P@5, not its mAP")


def _systems(store: Store, preset: str | None) -> dict[tuple[str, str], object]:
    """The systems to evaluate by model and layer: networks, fusions of them, and the presets; or one preset."""
    indexes = [(name, _open_preset(store, name)) for name in ([preset] if preset else _presets(store))]
    presets = {(name, index.fingerprint["layer"]): index for name, index in indexes}
    if preset:
        return presets
    found = FeatureSet.open(store)
    for model, layer in store.current().keys() - found.keys():
        print(f"{model} {layer} is left out: it does not cover all pictures; index the folder again", file=sys.stderr)
    layers = [layer for _, layer in found]
    layer = _usual(layers)
    parts = [found[key] for key in found if key[1] == layer]
    fused = FUSIONS if len(parts) > 1 else ()
    fusions = {(f"{method} of {len(parts)}", layer): measure.fused_similarities(parts, method) for method in fused}
    return {**found, **fusions, **presets}


def _usual(layers: Sequence[str]) -> str:
    """The layer that answers unless another is asked for."""
    return "penultimate" if "penultimate" in layers else layers[0]


def report_folder(options: Namespace) -> None:
    """Write a page about a folder and print its path."""
    print(views.write_report(options.folder, options.output, models=options.models, k=options.k, store=options.store))


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
        views.writable(options.output)  # before anything is computed
    collection = Collection.from_folder(options.folder)
    found = measure.recommend(collection, options.models, sample=options.sample, store=options.store)
    if options.output:
        from .views import comparison_page  # imports matplotlib

        comparison_page(found).save(options.output)
    if options.json:
        systems = found.table.to_dict("records")
        about = {"pictures": len(found.pictures), "measure": found.measure}
        about |= {"system": found.system, "advice": found.advice}
        _print_json({**about, "systems": systems})
        return
    print(f"{found}\n\n{_to_use(found.system, list(found.indexes), options.folder)}")
    if options.output:
        print(options.output)


def _to_use(system: str, singles: list[str], folder: str) -> str:
    """The commands that use a system of `recommend`; `singles` are the names of those that are not fused."""
    name, _, layer = system.rpartition(" ")
    index, query = f"Next: amulsearch index {_as_argument(folder)} --store DIR", "amulsearch query IMAGE --store DIR"
    if name == "preset":
        return f"{index} --preset {layer}\n      {query} --preset {layer}"
    method, _, several = name.partition(" of ")
    if several:
        fused = ",".join(one.removesuffix(f" {layer}") for one in singles if one.endswith(f" {layer}"))
        index += "" if fused == ",".join(models.BUNDLED) else f" --models {fused}"
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
        if presets := [] if names or layer or options.fuse else _presets(store):
            return {presets[0]: _open_preset(store, presets[0])}
        raise StoreError(f"{store.folder} holds no index: run `amulsearch index FOLDER --store {store.folder}`")
    layer = layer or _usual(layers)
    having = [model for model, of in stored if of == layer]
    wanted = [str(name) for name in models.names_of(names)] if names else having
    missing = [name for name in wanted if name not in having]
    if missing or not wanted:
        for name in missing:
            models.get(name)  # says that no network has this name
        meant = "" if layer in layers else did_you_mean(layer, layers)
        has = "; ".join(" ".join(key) for key in stored)
        what = f"{', '.join(missing) or 'any model'} {layer}{meant}"
        raise StoreError(f"{store.folder} has no index of {what}; it has {has}")
    old = [name for name in wanted if not is_current(store, f"{name} {layer}")]
    if old:
        raise StoreError(f"the collection has changed since {', '.join(old)} was indexed: run `amulsearch index` again")
    return {name: open_default(store, f"{name} {layer}") for name in wanted}


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
        meant = did_you_mean(query, store.collection().ids)
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
