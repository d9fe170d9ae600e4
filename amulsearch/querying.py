"""The command `query`: from a picture or words to lists of neighbours, printed or drawn."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pandas as pd
from PIL.Image import Image

from . import measure, models  # what a query does not use of these is not loaded
from .cli import PRESETS
from .errors import PictureError, QueryError, StoreError, as_argument, check_k, check_output, check_path
from .features import FeatureSet, Words
from .index import (
    LIKELY,
    DiffusionIndex,
    ExactIndex,
    Index,
    KeywordIndex,
    NoveltyTest,
    encoded,
    is_current,
    novelty_told,
    open_default,
    query_all,
    unlikely_from,
)
from .intake import Collection, copy_pictures, did_you_mean, note_outputs, open_image
from .printing import aligned, print_json, say
from .store import Store

COMPARED = 400
"""With how many pictures of the collection the novelty test compares a new one."""

DEPTH, DEPTHS = 100, {"vote": 10}
"""The number of neighbours of each model to fuse, and of the methods for which another is usual."""

USUAL = 4
"""The number of neighbours that are shown, or as many as there are."""

FUSION = "combsum"
"""The fusion that answers where no preset is indexed, the most accurate one (docs/measurements.md)."""


def query_store(options: Namespace) -> None:
    """Print or draw the nearest neighbours of a picture, or of words."""
    if options.text is not None:
        return query_words(options)
    if options.query is None:
        raise QueryError("give a picture, an id of the collection, or words: --text WORDS")
    if options.avoid:
        raise QueryError("--avoid goes with --text: give words to look for")
    store = Store.open(options.store)
    query, drawn = _as_query(options.query, store)
    _check_outputs(store, drawn, options)
    indexes = _open_indexes(store, options)
    answer = None if options.json or options.grid or options.fuse else _open_answer(store, indexes, options)
    asked_all = {**indexes, **(answer or {})}
    most = min(map(len, asked_all.values())) - isinstance(query, str)
    if not most:
        raise QueryError(f"{query!r} is the only picture: there is none to compare it with; add others and index again")
    k = check_k(options.k, most, usual=USUAL)
    asked, p_value = dict.fromkeys(asked_all, query), None
    if not isinstance(query, str):
        test = _novelty(store, indexes) if most > 1 else None  # one picture says nothing
        parts = test.parts if test else ()
        vectors = encoded([*asked_all.values(), *parts], query)  # one pass of each network for all
        asked = dict(zip(asked_all, vectors, strict=False))
        p_value = test.p_value(vectors[len(asked_all) :]) if test else None
    find = lambda which, depth: {name: index.query(asked[name], depth) for name, index in which.items()}  # noqa: E731
    fused = lambda method: measure.fuse(find(indexes, min(max(k, DEPTHS.get(method, DEPTH)), most)), method, k=k)  # noqa: E731
    if options.fuse:
        lists = {f"{options.fuse} of {len(indexes)}": fused(options.fuse)}
    else:
        lists = find(indexes, k)
        if answer is not None:
            together = find(answer, k) or {f"{FUSION} of {len(indexes)}": fused(FUSION)}
            lists = {**together, **lists}
    about = {"query": options.query} | ({} if p_value is None else {"p_value": p_value})
    _show(store, lists, drawn, about, options)
    if p_value is not None and not (options.grid or options.json):
        print(novelty_told(p_value, len(test.own)))


def query_words(options: Namespace) -> None:
    """Print or draw the pictures that words find: by text towers, else by keywords."""
    if options.preset:
        raise QueryError("leave out --preset: words are compared with single networks, or with keywords")
    store = Store.open(options.store)
    given, drawn = (None, None) if options.query is None else _as_query(options.query, store)
    _check_outputs(store, drawn, options)
    k = options.k or USUAL
    words = Words(options.text, options.avoid or "")
    collection = store.collection()
    depth = max(1, min(max(k, DEPTH), len(collection) - 1))
    chosen = models.names_of(options.models) if options.models else None
    names = [name for name, layer in store.current() if layer == "penultimate" and (chosen is None or name in chosen)]
    if towers := [name for name in names if models.reads_words(name)]:
        pictures = () if given is None else (collection.open(given) if isinstance(given, str) else given,)
        words = replace(words, pictures=pictures)
        lists, how = query_all(_open_layer(store, towers, "penultimate"), words, depth), "by the text tower"
    elif "keywords" in collection.table:
        most = depth if given is None else len(collection)
        found = KeywordIndex(collection).query(words.text, most, avoid=words.avoid)
        lists, how = {"keywords": found}, "by the keywords of the pictures"
    else:
        raise QueryError(
            "there are neither keywords nor a network with a text tower: index again with --keywords FILE.csv, or with "
            "--models open_clip/REPOSITORY"
        )
    if given is not None and not towers:
        ids = dict.fromkeys(id for table in lists.values() for id in table["id"] if id != given)
        if not ids:
            raise QueryError(f"no picture but {given!r} itself fits the words {words.text!r}: look for others")
        lists, how = _most_like(given, list(ids), store, options), f"{how}, and among these by the picture"
    if options.fuse:
        lists = {f"{options.fuse} of {len(lists)}": measure.fuse(lists, options.fuse)}
    elif len(lists) > 1 and not (options.json or options.grid):
        lists = {f"{FUSION} of {len(lists)}": measure.fuse(lists, FUSION), **lists}
    others = {name: table[table["id"] != given].head(k) for name, table in lists.items()}
    lists = {name: table.assign(rank=range(1, len(table) + 1)) for name, table in others.items()}
    if not options.json:
        say(f"found {how}")
    _show(store, lists, words, {"query": options.query, "text": words.text, "how": how}, options)


def _most_like(given, ids: list[str], store: Store, options: Namespace) -> dict[str, pd.DataFrame]:
    """These pictures by their distance from a picture, for each network."""
    features = FeatureSet.open(store)
    layer = options.layer or usual_layer([layer for _, layer in features])
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


def _show(store: Store, lists: Mapping[str, pd.DataFrame], query, about: dict, options: Namespace) -> None:
    """Print or draw lists of neighbours of a query (an id, a path or words) as the options say."""
    tables = list(lists.values())
    shown = {id for table in tables for id in table["id"]} | ({query} if isinstance(query, str) else set())
    collection = store.collection(sorted(shown))
    if options.copy_to:
        results = list(dict.fromkeys(id for table in tables for id in table["id"]))
        copied = copy_pictures(collection, results, options.copy_to)
        errors = [one for one in copied if isinstance(one, PictureError)]
        say(f"{len(copied) - len(errors)} of {len(results)} results are in {as_argument(options.copy_to)}")
        for error in errors:
            say(str(error))
    states = collection.changed(collection.ids)
    if "missing" in states.values() and not collection.folder.is_dir():
        again = _index_again(store, _indexed(store), folder="NEW_FOLDER")
        say(f"{collection.folder} is not there: if it was moved, {again}; no vector is computed again")
    if options.grid:
        _draw(collection, query, lists, options.grid)
        print(as_argument(options.grid))
    elif options.json:
        results = [entry for table in tables for entry in _entries(table, collection, states)]
        print_json({"query": about.pop("query"), "results": results, **about})
    else:
        _print_lists(lists, collection, states)


def _open_answer(store: Store, indexes: Mapping[str, Index], options: Namespace) -> dict[str, Index] | None:
    """The preset, if it can answer for all networks together; empty if a fusion of their indexes has to; None if there
    is nothing to combine."""
    chosen = options.preset or options.models or options.layer
    for name in () if chosen else current_presets(store):
        if name not in indexes:  # else it is all that there is
            return {f"preset {name}": open_preset(store, name)}
    return {} if len(indexes) > 1 else None


def _draw(collection: Collection, query: str | Path, lists: Mapping[str, pd.DataFrame], file: str) -> None:
    """Draw a column for each list, or a row if there is only one."""
    from .views import plot

    if len(lists) > 1:
        figure = plot.model_grid(collection, query, lists)
    else:
        (name, table), *_ = lists.items()
        figure = plot.query_grid(collection, query, table, title=name)
    try:
        figure.savefig(file, dpi=150, format=_format_of(file))
    except (ValueError, OSError) as error:
        raise QueryError(f"the grid cannot be written to {file}: {error}") from None
    if file.resolve().is_relative_to(collection.folder):
        note_outputs([file])


def _format_of(file: Path) -> str:
    """The format that the ending of a figure's file names."""
    from matplotlib.backend_bases import FigureCanvasBase

    formats = FigureCanvasBase.get_supported_filetypes()
    if (ending := file.suffix[1:].lower()) not in formats:
        raise QueryError(
            f"the grid cannot be written to {file}: give it one of the endings {', '.join(sorted(formats))}"
        )
    return ending


def _check_outputs(store: Store, query: str | Path | None, options: Namespace) -> None:
    """Refuse what cannot be written before anything is computed, and what would overwrite a picture."""
    if options.copy_to:
        check_output(options.copy_to, "the copies", folder=True)
    if not options.grid:
        return
    _format_of(check_output(options.grid, "the grid"))
    own = store.collection(store.collection([]).ids_of(options.grid)).ids
    if own or (isinstance(query, Path) and query.resolve() == options.grid.resolve()):
        raise QueryError(f"{options.grid} is a picture that would be overwritten: give another file for the grid")


def _print_lists(lists: Mapping[str, pd.DataFrame], collection: Collection, states: Mapping[str, str]) -> None:
    """Print lists of neighbours; of several, the first is the answer of all networks together."""
    for place, (name, table) in enumerate(lists.items()):
        better = "the greater the score, the better" if "score" in table else "the smaller the distance, the nearer"
        if place == 1:
            print(f"Each network alone: {better}.\n")
        told = f"{name}, all networks together: {better}" if len(lists) > 1 else f"{name}: {better}"
        print(name if place else told)
        print(aligned(_shown(table, collection, states)))
        if unlikely := unlikely_from(table):
            print(f"from rank {unlikely} on, nothing is likely to fit: the probability is below {LIKELY}")
        print()


def _shown(table: pd.DataFrame, collection: Collection, states: Mapping[str, str]) -> pd.DataFrame:
    """The columns of a table of neighbours that a person reads, with paths to paste into a shell."""
    columns = [name for name in ("rank", "distance", "score", "probability", "votes", "label") if name in table]
    folders = [id.rpartition("/")[0] or None for id in table["id"]]
    if table["label"].tolist() == folders:  # the path says it
        columns.remove("label")
    shown = table[columns]
    if not states.keys().isdisjoint(table["id"]):
        shown = shown.assign(state=table["id"].map(states))
    return shown.assign(path=[_pasted(collection.path(id)) for id in table["id"]])


def _pasted(path: Path) -> str:
    """A path as a person can paste it into a shell: from the working directory on, if it is below that."""
    with suppress(ValueError):
        path = path.relative_to(Path.cwd())
    return as_argument(path)


def _entries(table: pd.DataFrame, collection: Collection, states: Mapping[str, str]) -> list[dict]:
    """The rows of a table of neighbours in the format of `query --json`."""
    told = [name for name in ("distance", "score", "probability") if name in table]
    return [
        {
            "rank": int(row["rank"]),
            "id": row["id"],
            "path": str(collection.path(row["id"])),
            **({"state": states[row["id"]]} if row["id"] in states else {}),
            **{name: float(row[name]) for name in told},
            "model": row["model"],
            "layer": row["layer"],
        }
        for row in table.to_dict("records")
    ]


def _open_indexes(store: Store, options: Namespace) -> dict[str, Index]:
    """The indexes to query, by model, all of one layer; or that of a preset."""
    if options.preset:
        if options.models or options.layer or options.fuse:
            raise QueryError("leave out --models, --layer and --fuse: the preset determines them")
        return {options.preset: open_preset(store, options.preset)}
    if not (_indexed(store) or options.models or options.layer or options.fuse) and (presets := current_presets(store)):
        return {presets[0]: open_preset(store, presets[0])}
    return _open_layer(store, options.models, options.layer)


def _open_layer(store: Store, names: str | list[str] | None, layer: str | None) -> dict[str, Index]:
    """The indexes of a layer, by model: of these networks, or of all that are indexed."""
    stored = _indexed(store)
    if not stored:
        raise StoreError(f"{store.folder} holds no index: {_index_again(store)}")
    layers = list(dict.fromkeys(key[1] for key in stored))
    layer = layer or usual_layer(layers)
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
    if old and (names or old == wanted):
        again = _index_again(store, [(name, layer) for name in old])
        raise StoreError(f"the collection has changed since {', '.join(old)} was indexed: {again}")
    for name in old:
        say(f"{name} is left out: the collection has changed since it was indexed")
        wanted.remove(name)
    return {name: open_default(store, f"{name} {layer}") for name in wanted}


def _indexed(store: Store) -> list[tuple[str, str]]:
    """The models and layers that are indexed."""
    return [key for key in store.current() if " ".join(key) in store.indexes]


def _index_again(store: Store, keys: Iterable[tuple[str, str]] = (), preset: str = "", folder: str = "") -> str:
    """The command that brings indexes of a store up to date; keys: their models and layers."""
    command = f"run `amulsearch index {folder or as_argument(store.collection([]).folder)}"
    command += f" --store {as_argument(store.folder)}"
    for option, names in zip(("--models", "--layers"), zip(*keys, strict=True), strict=False):
        command += f" {option} {as_argument(','.join(dict.fromkeys(names)))}"
    return f"{command} --preset {preset}`" if preset else f"{command}`"


def open_preset(store: Store, name: str) -> DiffusionIndex:
    command = _index_again(store, preset=name)
    if f"preset {name}" not in store.indexes:
        raise StoreError(f"the preset {name} is not indexed: {command}")
    if not is_current(store, f"preset {name}"):
        raise StoreError(f"the collection has changed since {name} was indexed: {command}")
    return DiffusionIndex.open_in(store, f"preset {name}")


def current_presets(store: Store) -> list[str]:
    """The presets that are indexed; one that lacks pictures is told and left out."""
    indexed = [name for name in PRESETS if f"preset {name}" in store.indexes]
    current = [name for name in indexed if is_current(store, f"preset {name}")]
    for name in set(indexed) - set(current):
        say(f"the preset {name} is left out: the collection has changed since it was indexed")
    return current


def usual_layer(layers: Sequence[str]) -> str:
    """The layer that answers unless another is asked for."""
    return "penultimate" if "penultimate" in layers else layers[0]


def _novelty(store: Store, indexes: dict[str, Index]) -> NoveltyTest:
    """The test of whether a picture is like the collection: by the networks of the query, without what was fitted."""
    presets = [index for index in indexes.values() if isinstance(index, DiffusionIndex)]
    if not presets:
        return NoveltyTest.build(list(indexes.values()), sample=COMPARED)
    stored = FeatureSet.open(store)
    reduced = [layer for index in presets for part in index.fingerprint["of"] for layer in part["of"]]
    return NoveltyTest.build([stored[key] for key in dict.fromkeys((of["model"], of["layer"]) for of in reduced)])


def _as_query(query: str, store: Store) -> tuple[str | Image, str | Path]:
    """The id if the argument names a picture of the collection, by id or by path, else the opened picture; and what a
    figure shows: the id or the path."""
    collection = store.collection([query])
    if query in collection:
        (id,) = collection
        path = collection.path(id)
        if Path(query).exists() and not (path.exists() and path.samefile(query)):
            say(f"{query} is taken for the picture of the collection: write ./{query} for the file in this folder")
    else:
        path = check_path(query)
        collection = store.collection(collection.ids_of(path))
        id = next(iter(collection), None)
        if id is None and not path.exists():
            meant = did_you_mean(query, store.collection().ids)
            raise QueryError(f"{query!r} is neither a file nor an id of the collection {collection.folder}{meant}")
    state = collection.changed([id]).get(id) if id else "new"
    if id and not str(state).startswith("changed"):
        if state:
            say(f"{path} {'is ' * (state == 'missing')}{state}: this is the answer for the picture that was indexed")
        return id, id
    if id:
        path = collection.path(id)
        say(f"{path} has changed since it was indexed: this is the answer for the new picture")
    return open_image(path, **collection.opening), path
