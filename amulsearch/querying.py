"""The command `query`: a picture or words, asked of the panel of a store, and the answers printed or drawn."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from .errors import PictureError, QueryError, as_argument, check_k, check_output, check_path
from .features import Words
from .index import LIKELY, Index, NewPicture, unlikely_from
from .intake import Collection, copy_pictures, did_you_mean, note_outputs, open_image
from .printing import aligned, pasted, print_json, say
from .store import Store
from .systems import PRESETS, Fusion, Keywords, Panel, index_again, indexed, open_panel, text_towers

FUSION = "combsum"
"""The fusion that answers where no preset is indexed, the most accurate one (docs/measurements.md)."""
USUAL = 4
"""The number of neighbours that are shown, or as many as there are."""


def query_store(options: Namespace) -> None:
    """Print or draw the nearest neighbours of a picture, or of words."""
    if options.text is not None:
        return query_words(options)
    if options.query is None:
        raise QueryError("give a picture, an id of the collection, or words: --text WORDS")
    if options.avoid:
        raise QueryError("--avoid goes with --text: give words to look for")
    if options.preset and (options.models or options.layer or options.fuse):
        raise QueryError("leave out --models, --layer and --fuse: the preset determines them")
    store = Store.open(options.store)
    query, drawn = _as_query(options.query, store)
    _check_outputs(store, drawn, options)
    panel = open_panel(store, options.models, options.layer, preset=options.preset, fusions=[options.fuse or FUSION])
    if options.fuse:
        panel = _fused(panel, options.fuse)
    most = panel.count - isinstance(query, str)
    if not most:
        raise QueryError(f"{query!r} is the only picture: there is none to compare it with; add others and index again")
    systems, test = _systems(panel, options), None
    if isinstance(query, NewPicture) and (test := panel.novelty()):
        query.vectors([*test.parts, *(part for name in systems for part in panel[name].parts)])  # in one pass
    lists = panel.query(query, check_k(options.k, most, usual=USUAL), systems=systems)
    about = {"query": options.query} | ({"p_value": test.p_value(query)} if test else {})
    _show(store, lists, drawn, about, options)
    if test and not (options.grid or options.json):
        print(test.sentence(about["p_value"]))


def query_words(options: Namespace) -> None:
    """Print or draw the pictures that words find: by text towers, else by keywords."""
    if options.preset:
        raise QueryError("leave out --preset: words are compared with single networks, or with keywords")
    store, words = Store.open(options.store), Words(options.text, options.avoid or "")
    query, drawn = (None, None) if options.query is None else _as_query(options.query, store)
    _check_outputs(store, drawn, options)
    own, collection = query if isinstance(query, str) else None, store.collection()
    k = min(options.k or USUAL, max(len(collection) - (own is not None), 1))
    fusions = [options.fuse or FUSION]
    if towers := text_towers(store, options.models):
        if query is not None:
            words = replace(words, pictures=(collection.open(own) if own else query.image,))
        panel = open_panel(store, towers, "penultimate", fusions=fusions)
        lists = panel.query(words, min(k + 1, panel.count), systems=_systems(panel, options))
        how = "by the text tower"
    elif "keywords" in collection.table:
        table = Keywords(collection).query(words, len(collection))
        lists, how = {"keywords": table}, "by the keywords of the pictures"
        if query is not None:
            within = [id for id in table["id"] if id != own]
            if not within:
                raise QueryError(f"no picture but {own!r} itself fits the words {words.text!r}: look for others")
            panel = open_panel(store, options.models, options.layer or "penultimate", fusions=fusions)
            panel = panel.subset([*within, *([own] if own else ())])
            lists = panel.query(query, min(k, len(within)), systems=_systems(panel, options))
            how += ", and among these by the picture"
    else:
        again = "index again with --keywords FILE.csv, or with --models open_clip/REPOSITORY"
        raise QueryError(f"there are neither keywords nor a network with a text tower: {again}")
    lists = {name: table[table["id"] != own].head(k) for name, table in lists.items()}
    lists = {name: table.assign(rank=range(1, len(table) + 1)) for name, table in lists.items()}
    if not options.json:
        say(f"found {how}")
    _show(store, lists, words, {"query": options.query, "text": words.text, "how": how}, options)


def _fused(panel: Panel, method: str) -> Panel:
    """The fusion of all networks of a layer, also if there is only one."""
    networks = [name for name in panel if isinstance(panel[name], Index) and name not in PRESETS]
    if not networks:
        raise QueryError("there is nothing to fuse: index networks, or leave out --fuse")
    fusion = Fusion([panel[name] for name in networks], method)
    return Panel({f"{method} of {len(networks)}": fusion, **{name: panel[name] for name in networks}})


def _systems(panel: Panel, options: Namespace) -> list[str]:
    """The systems that answer, in this order: what all networks find together, then each of them."""
    presets = [name for name in panel if name in PRESETS]
    fusions = [name for name in panel if isinstance(panel[name], Fusion)]
    networks = [name for name in panel if name not in presets + fusions]
    if options.fuse and fusions:
        return fusions
    if options.json or options.grid:
        return networks or presets
    return [*(presets or fusions), *networks]


def _show(store: Store, lists: Mapping[str, pd.DataFrame], query, about: dict, options: Namespace) -> None:
    """Print or draw lists of neighbours of a query (an id, a path or words) as the options say."""
    lists = {_title(name, table): table for name, table in lists.items()}
    tables = list(lists.values())
    shown = {id for table in tables for id in table["id"]} | ({query} if isinstance(query, str) else set())
    collection = store.collection(sorted(shown))
    if options.copy_to:
        results = list(dict.fromkeys(id for table in tables for id in table["id"]))
        copied = copy_pictures(collection, results, options.copy_to)
        errors = [result for result in copied if isinstance(result, PictureError)]
        say(f"{len(copied) - len(errors)} of {len(results)} results are in {as_argument(options.copy_to)}")
        for error in errors:
            say(str(error))
    states = collection.changed(collection.ids)
    if "missing" in states.values() and not collection.folder.is_dir():
        again = index_again(store, indexed(store), folder="NEW_FOLDER")
        say(f"{collection.folder} is not there: if it was moved, {again}; no vector is computed again")
    if options.grid:
        _draw(collection, query, lists, options.grid)
        print(as_argument(options.grid))
    elif options.json:
        results = [entry for table in tables for entry in _entries(table, collection, states)]
        print_json({"query": about.pop("query"), "results": results, **about})
    else:
        _print_lists(lists, collection, states)


def _title(name: str, table: pd.DataFrame) -> str:
    """The name of a system without its layer, which all networks share."""
    layers = [layer for layer in table["layer"].head(1) for layer in (layer if isinstance(layer, list) else [layer])]
    return name.removesuffix(f" {layers[0]}") if layers else name


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
    if file.resolve().is_relative_to(collection.folder):
        note_outputs([file])


def _check_outputs(store: Store, query: str | Path | None, options: Namespace) -> None:
    """Refuse what cannot be written before anything is computed, and what would overwrite a picture."""
    if options.copy_to:
        check_output(options.copy_to, "the copies", folder=True)
    if not options.grid:
        return
    check_output(options.grid, "the grid")
    own = store.collection(store.collection([]).ids_of(options.grid)).ids
    if own or (isinstance(query, Path) and query.resolve() == options.grid.resolve()):
        raise QueryError(f"{options.grid} is a picture that would be overwritten: give another file for the grid")


def _print_lists(lists: Mapping[str, pd.DataFrame], collection: Collection, states: Mapping[str, str]) -> None:
    """Print lists of neighbours; of several, the first, or those of the presets, are of all networks together."""
    together = max(1, sum(name in PRESETS for name in lists))
    for place, (name, table) in enumerate(lists.items()):
        better = "the greater the score, the better" if "score" in table else "the smaller the distance, the nearer"
        if place == together:
            print(f"Each network alone: {better}.\n")
        told = f"{name}, all networks together: {better}" if len(lists) > 1 else f"{name}: {better}"
        print(told if place < together else name)
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
    return shown.assign(path=[pasted(collection.path(id)) for id in table["id"]])


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


def _as_query(query: str, store: Store) -> tuple[str | NewPicture, str | Path]:
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
    return NewPicture(open_image(path, **collection.opening)), path
