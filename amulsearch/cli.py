"""The command line: thin over the library, stable for scripts.

    amulsearch models  [--json]
    amulsearch index   FOLDER --store DIR [--models A,B] [--layers logits,penultimate] [--framing pad|crop|squash]
                       [--precision float32|bfloat16|float16|auto]
    amulsearch query   IMAGE_OR_ID --store DIR [--models A,B] [--layer L] [--fuse METHOD] [-k 4] [--json | --grid FILE]
    amulsearch evaluate --store DIR [--json]

`--preset best` in place of --models and --layers does all three with the best recipe there is.

An error is one line on standard error that says what to do, and the exit status is 2.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from . import models
from .annoy_index import AnnoyIndex
from .collection import Collection
from .ensemble import METHODS, fuse
from .errors import AmulsearchError, QueryError, StoreError
from .evaluation import Relevance, evaluate
from .extraction import extract
from .features import Features
from .pictures import open_image
from .preprocess import FRAMINGS
from .presets import PRESETS
from .search import check_k, query_all
from .store import Store

DEPTH = 100
"""How many neighbours of each model are fused; for "vote" its own default of 10."""


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        parsed.run(parsed)
        sys.stdout.flush()
    except AmulsearchError as error:
        print(f"amulsearch: {_one_line(error)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"amulsearch: {_one_line(error.strerror or error)}: {error.filename or ''}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "amulsearch: interrupted; what was computed is kept, the same command goes on from there", file=sys.stderr
        )
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="amulsearch", description="Search a folder of pictures by meaning.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("models", help="list the networks and whether their weights are on this machine")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.set_defaults(run=_models)

    command = commands.add_parser("index", help="extract the features of a folder's pictures and index them")
    command.add_argument("folder", metavar="FOLDER", help="the folder with the pictures; all folders below it count")
    command.add_argument("--store", required=True, metavar="DIR", help="where features and indexes are kept")
    command.add_argument("--models", default="bundled", metavar="A,B", help="networks, or bundled, or blog")
    command.add_argument("--layers", default="logits,penultimate", metavar="A,B", help="default: logits,penultimate")
    command.add_argument("--framing", default="pad", choices=FRAMINGS, help="how a picture becomes a square")
    command.add_argument(
        "--precision",
        default="float32",
        choices=("float32", "bfloat16", "float16", "auto"),
        help="what the networks compute in; auto: the fastest this machine has",
    )
    _preset(command)
    command.set_defaults(run=_index)

    command = commands.add_parser("query", help="find the pictures most like one")
    command.add_argument("query", metavar="IMAGE_OR_ID", help="a picture file, or an id of the collection")
    command.add_argument("--store", required=True, metavar="DIR", help="what `amulsearch index` made")
    command.add_argument("--models", metavar="A,B", help="networks to ask; default: all that are indexed")
    command.add_argument("--layer", metavar="L", help="layer to ask; default: penultimate where it is indexed")
    command.add_argument("--fuse", choices=METHODS, metavar="METHOD", help=f"one list of all: {', '.join(METHODS)}")
    command.add_argument("-k", type=int, default=4, metavar="K", help="how many neighbours (default 4)")
    _preset(command)
    output = command.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print JSON")
    output.add_argument("--grid", metavar="FILE.png", help="draw the query and its neighbours")
    command.set_defaults(run=_query)

    command = commands.add_parser("evaluate", help="measure what is stored against the folders as labels")
    command.add_argument("--store", required=True, metavar="DIR", help="what `amulsearch index` made")
    command.add_argument("--json", action="store_true", help="print JSON")
    _preset(command)
    command.set_defaults(run=_evaluate)
    return parser


def _preset(command: argparse.ArgumentParser) -> None:
    command.add_argument("--preset", choices=PRESETS, help="a whole recipe in place of models and layers")


class _Parser(argparse.ArgumentParser):
    """Usage errors in one line, as all others."""

    def error(self, message: str):
        self.exit(2, f"amulsearch: {message}; see {self.prog} --help\n")


def _models(options) -> None:
    table = models.table()
    if options.json:
        print(json.dumps(table.to_dict("records"), indent=1))
        return
    table["ready"] = table["ready"].map({True: "ready", False: "to download"})
    print(table.drop(columns="file").to_string(index=False))


def _index(options) -> None:
    collection = Collection.from_folder(options.folder)
    store = Store(options.store)
    how = {"framing": options.framing, "precision": options.precision, "store": store}
    if options.preset:
        features = PRESETS[options.preset].features(collection, **how)
        _build(store.index_path("preset", options.preset), features)
        _report_rejected(store.collection().rejected)
        print(f"{len(features)} pictures indexed with the preset {options.preset}, in {store.folder}")
        return
    features = extract(collection, options.models, options.layers.split(","), **how)
    built = sum(_build(store.index_path(*key), made) for key, made in features.items())
    _report_rejected(features.rejected)
    print(
        f"{len(features.collection)} pictures, {len(features.rejected)} rejected, {features.extracted} extracted, "
        f"{built} of {len(features)} indexes built, in {store.folder}"
    )


def _build(path: Path, features: Features) -> bool:
    """Build and save an index, unless the stored one is of the same features."""
    try:
        if AnnoyIndex.open(path).content == features.content:
            return False
    except StoreError:
        pass  # missing, damaged or old: it is built anew
    AnnoyIndex.build(features).save(path)
    return True


def _report_rejected(rejected: pd.DataFrame, most: int = 20) -> None:
    for row in rejected.head(most).itertuples():
        print(f"rejected {_one_line(row.id)}: {_one_line(row.reason)}", file=sys.stderr)
    if len(rejected) > most:
        print(f"... and {len(rejected) - most} more", file=sys.stderr)


def _query(options) -> None:
    store = Store.open(options.store)
    collection = store.collection()
    indexes = _open_indexes(store, options)
    query = _as_query(options.query, collection)
    k = check_k(options.k, len(collection) - isinstance(query, str), "pictures to choose from")
    if options.fuse is None:
        lists = query_all(indexes, query, k)
        tables = list(lists.values())
    else:
        depth = min(max(k, 10 if options.fuse == "vote" else DEPTH), len(collection) - isinstance(query, str))
        fused = fuse(query_all(indexes, query, depth), options.fuse, k=k)
        lists, tables = {f"{options.fuse} of {len(indexes)}": fused}, [fused]
    if options.grid:
        from . import plot

        figure = plot.model_grid(collection, query, lists)
        try:
            figure.savefig(options.grid, dpi=150)
        except (ValueError, OSError) as error:
            raise QueryError(f"the grid cannot be written to {options.grid}: {error}") from None
        print(options.grid)
    elif options.json:
        results = [entry for table in tables for entry in _entries(table, collection)]
        print(json.dumps({"query": options.query, "results": results}, ensure_ascii=False, indent=1))
    else:
        for name, table in lists.items():
            measure = "distance" if "distance" in table else "score"
            print(f"{name}\n{table[['rank', 'id', measure, 'label']].to_string(index=False)}\n")


def _evaluate(options) -> None:
    store = Store.open(options.store)
    collection = store.collection()
    relevance = Relevance.from_labels(collection.ids, collection.labels)
    systems = []
    if options.preset:
        index = _open_preset(store, options.preset)
        vectors = np.stack([index.vector(id) for id in index.ids])
        found = {(options.preset, index.fingerprint["layer"]): Features(vectors, index.ids)}
    else:
        found = store.features()
    for (model, layer), features in found.items():
        result = evaluate(features, relevance)
        low, high = result.interval("AP")
        mean = result.mean()
        systems.append({"model": model, "layer": layer, **mean.to_dict(), "mAP_low": low, "mAP_high": high})
    if options.json:
        asked = {"queries": len(result.per_query), "excluded": result.excluded}
        print(json.dumps({**asked, "systems": systems}, ensure_ascii=False, indent=1))
        return
    print(f"{len(result.per_query)} queries, {result.excluded} left out because nothing has their label")
    print(pd.DataFrame(systems).to_string(index=False, float_format="%.3f"))


def _open_indexes(store: Store, options) -> dict[str, AnnoyIndex]:
    """The indexes to ask, by model, all of one layer; or that of a preset."""
    names, layer = options.models, options.layer
    if options.preset:
        if names or layer or options.fuse:
            raise QueryError("leave out --models, --layer and --fuse: a preset says what is asked")
        return {options.preset: _open_preset(store, options.preset)}
    paths = store.index_paths()
    layers = list(dict.fromkeys(key[1] for key in paths))
    if not paths:
        raise StoreError(f"{store.folder} holds no index: run `amulsearch index FOLDER --store {store.folder}`")
    layer = layer or ("penultimate" if "penultimate" in layers else layers[0])
    stored = [model for model, of in paths if of == layer]
    wanted = [str(name) for name in models.names_of(names)] if names else stored
    missing = [name for name in wanted if name not in stored]
    if missing or not wanted:
        has = "; ".join(f"{model} {of}" for model, of in paths)
        raise StoreError(f"{store.folder} has no index of {', '.join(missing) or 'any model'} {layer}; it has {has}")
    return {name: AnnoyIndex.open(paths[name, layer]) for name in wanted}


def _open_preset(store: Store, name: str) -> AnnoyIndex:
    path = store.index_path("preset", name)
    if not path.exists():
        folder = store.collection().folder
        raise StoreError(
            f"no preset is indexed: run `amulsearch index {folder} --store {store.folder} --preset {name}`"
        )
    index = AnnoyIndex.open(path)
    if index.ids != store.collection().ids:
        raise StoreError(f"the collection has changed since: run `amulsearch index` with --preset {name} again")
    return index


def _as_query(query: str, collection: Collection):
    """An id where the argument names a picture of the collection, by id or by path; else the opened picture."""
    if query in collection:
        return query
    if not Path(query).exists():
        raise QueryError(f"{query!r} is neither a file nor an id of the collection {collection.folder}")
    try:
        return collection.id_of(query) or open_image(
            query, background=collection.background, max_pixels=collection.max_pixels
        )
    except AmulsearchError as error:
        raise QueryError(f"{query}: {error}") from None


def _entries(table: pd.DataFrame, collection: Collection) -> list[dict]:
    """The rows of a table of neighbours as the contract of `query --json` has them."""
    measure = "distance" if "distance" in table else "score"
    return [
        {
            "rank": int(row["rank"]),
            "id": row["id"],
            "path": str(collection.path(row["id"])),
            measure: float(row[measure]),
            "model": row["model"],
            "layer": row["layer"],
        }
        for row in table.to_dict("records")
    ]


def _one_line(text: object) -> str:
    """Text with line ends and other characters that a terminal would obey shown as escapes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text))
