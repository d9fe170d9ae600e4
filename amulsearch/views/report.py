"""A report about a folder of pictures: contents, any picture as a query, near-duplicates, networks, measures."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import QueryError, check_k
from ..features import BEST, Features, FeatureSet, concatenate, extract
from ..index import THRESHOLD, DiffusionIndex, ExactIndex, Index, near_duplicates, query_all
from ..intake import Collection
from ..measure import calibrated, compare, disagreement, fuse, fuse_all, neighbour_purity
from ..store import Store
from .mapping import Map, sampled
from .page import Page, writable
from .palette import label_groups

LAYER = "penultimate"
SHOWN, GROUPS, QUERIES, LISTED, NEAR = 48, 10, 6, 50, 8
"""Maximum numbers of pictures on the contact sheet, groups of near-duplicates, queries in grids, rejected files listed
by name, and neighbours of each picture that can be asked with."""
JOINED, ASKED, ANSWERED = 50_000, 2000, 20_000
"""Maximum numbers of pictures among which near-duplicates are searched, of pictures that query all others, for the
differences of the networks and for the evaluation, and of pictures that can be asked with. In a larger folder each is a
random sample, and the page says so."""


def write_report(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    models: str | list = model_table.BUNDLED,
    k: int = 4,
    store: str | os.PathLike | Store | None = None,
    progress: bool = True,
) -> Path:
    """Write a report about a folder of pictures to an HTML page, as `amulsearch report` does.

    The page shows the files that were read, skipped and rejected, and a contact sheet; it answers queries by any
    picture, with a map (see `Page.answers`); and it shows near-duplicates and the queries on which the networks differ
    most. If subfolders serve as labels, it also evaluates each network and their
    fusions. In a large folder, some parts are made of a random sample, and say so.

    The thumbnails of more than 4,000 pictures are written to a folder beside the page, NAME_files.

    The page is written after each part: if the run is interrupted, it holds the parts that were done.

    Parameters
    ----------
    folder : str or path
        Folder of pictures, scanned with its subfolders.
    output : str or path
        HTML file to write.
    models : str or list, default `models.BUNDLED`
        Networks to compare by their penultimate layers, as `extract` takes them.
    k : int, default 4
        Number of neighbours in each column of a grid.
    store : str, path or Store, optional
        Keeps the features for later runs. By default they are discarded.
    progress : bool, default True
        Show progress bars.

    Returns
    -------
    Path
        The path of the page.

    Raises
    ------
    QueryError
        If fewer than two pictures can be used, `k` is not a positive integer, or `output` is a folder or cannot be
        written; `output` and `k` are checked before any work starts.
    AmulsearchError
        If `folder` does not exist or has no usable picture, or if a network is unknown.

    See Also
    --------
    Page : Build a page part by part.
    """
    output, k = writable(output), check_k(k, k)
    with tempfile.TemporaryDirectory() as temporary:
        of = _extracted(folder, models, output, k, {"store": store or temporary, "progress": progress})
        return _write(of, output, progress)


@dataclass(frozen=True, eq=False)
class _Report:
    """What the parts of a report are made from."""

    features: FeatureSet
    """One layer of each network."""
    layers: list[Features]
    """Those of the preset; empty if one of its networks is not asked for."""
    joined: Features
    """The layer of all networks, concatenated, of a sample of the pictures."""
    k: int
    files: Path
    """The folder for thumbnails beside the page."""


def _extracted(folder, models, output: Path, k: int, how: dict) -> _Report:
    """Extract what a report needs, with one pass of each network."""
    collection = Collection.from_folder(folder, progress=how["progress"])
    names = [str(name) for name in model_table.names_of(models)]
    preset = set(BEST.layers) <= set(names) and len(collection) > 2
    if preset:
        for layers in dict.fromkeys(BEST.layers.values()):
            same = [name for name in names if BEST.layers.get(name) == layers]
            collection = extract(collection, same, [LAYER, *layers], **how).collection
    if len(collection) > 1:
        features = extract(collection, models, LAYER, **how)
        collection = features.collection
    if len(collection) < 2:
        raise QueryError(
            f"a report needs at least two pictures, but only {len(collection)} of those in {folder} can be used"
        )
    layers = BEST.layers_of(collection, **how) if preset and len(collection) > 2 else []
    joined = concatenate([sampled(made, JOINED) for made in features.values()])
    return _Report(features, layers, joined, min(k, len(collection) - 1), output.with_name(f"{output.stem}_files"))


def _write(of: _Report, output: Path, progress: bool) -> Path:
    collection = of.features.collection
    title = f"{len(collection):,} pictures in {collection.folder.name or collection.folder}"
    page = Page(f"{title} (unfinished)")
    bar = tqdm(_PARTS.items(), unit="part", delay=1, disable=not progress)
    for name, part in bar:
        bar.set_description(f"report: {name}")
        part(page, of)
        page.save(output)
    page.title = title
    return page.save(output)


def _say_sample(page: Page, part: int, whole: int) -> None:
    """Say that what follows is about a sample of the pictures, if it is."""
    if part < whole:
        page.text(f"A random sample of {part:,} of the {whole:,} pictures.")


def _intake(page: Page, of: _Report) -> None:
    collection, table = of.features.collection, of.features.collection.table
    about = {
        "pictures": f"{len(table):,}",
        "labels": f"{table['label'].nunique():,}; {table['label'].isna().sum():,} pictures without a label",
        "formats": ", ".join(f"{name} {count:,}" for name, count in table["format"].value_counts().items()),
        "width": f"{table['width'].min():,} to {table['width'].max():,} pixels",
        "height": f"{table['height'].min():,} to {table['height'].max():,} pixels",
        "animations": f"{(table['frames'] > 1).sum():,}",
        "rejected": f"{len(collection.rejected):,}",
        "skipped": "; ".join(f"{kind}: {n:,}" for kind, n in collection.passed_over.items()) or "nothing",
    }
    page.heading("Contents of the folder")
    page.table(pd.DataFrame(list(about.items()), columns=["property", "value"]))
    if len(collection.rejected):
        page.text("These files look like pictures but cannot be used:")
        page.table(collection.rejected.head(LISTED))
        if len(collection.rejected) > LISTED:
            page.text(f"and {len(collection.rejected) - LISTED:,} more")
    ids = collection.sample(SHOWN)
    page.text("All pictures:" if len(ids) == len(table) else f"A random sample of {len(ids)} pictures:")
    page.contact_sheet(collection, ids)


def _near_duplicates(page: Page, of: _Report) -> None:
    table, same = near_duplicates(of.joined), len(of.features.collection.duplicates())
    page.heading("Near-duplicates")
    _say_sample(page, len(of.joined), len(of.features.collection))
    if table.empty:
        page.text(f"No two pictures have a cosine similarity of {THRESHOLD} or more.")
        return
    groups = table["group"].nunique()
    page.text(
        f"{groups:,} groups with {len(table):,} pictures in total. Each picture has a cosine similarity of {THRESHOLD} "
        f"or more to another in its group. In the whole folder, {same:,} files are byte-for-byte identical to another."
    )
    page.duplicates(of.features.collection, table, most=GROUPS)
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _answers(page: Page, of: _Report) -> None:
    """Every picture can be asked with; of a large folder, those of a sample."""
    page.heading("Ask with any picture")
    some = {model: sampled(made, ANSWERED) for (model, _), made in of.features.items()}
    parts = list(some.values())
    _say_sample(page, len(parts[0]), len(of.features.collection))
    indexes = {model: ExactIndex.build(made) for model, made in some.items()}
    systems: dict[str, Index | tuple] = {}
    if of.layers:
        layers = [sampled(made, ANSWERED) for made in of.layers]
        systems["preset best"] = calibrated(DiffusionIndex.build(BEST.reduced(layers)))
    systems |= {model: calibrated(index) for model, index in indexes.items()}
    if len(indexes) > 1:
        lists = {model: index.all_neighbours(min(50, len(index) - 1)) for model, index in indexes.items()}
        systems |= {method: fuse_all(lists, method, k=NEAR) for method in ("vote", "rrf", "combsum")}
    maps = {"all networks" if len(parts) > 1 else next(iter(some)): Map.fit(concatenate(parts))}
    if len(parts) > 1:
        maps[next(iter(some))] = Map.fit(parts[0])
    drawn = next(iter(maps.values()))
    groups = label_groups(drawn.labels)
    page.text(
        "Click a picture: its neighbours stand in columns, one for each system. On the map, similar pictures lie near "
        "each other; distances between dissimilar pictures mean little."
    )
    if pd.Series(groups, dtype=object).dropna().duplicated().any():
        nearest = min(10, len(drawn) - 1)
        purity = neighbour_purity({"map": drawn.neighbours(nearest)}, groups).loc["map"]
        page.text(
            f"On average, {purity['purity']:.0%} of a picture's {nearest} nearest neighbours on the map belong to its "
            f"group; the chance level is {purity['chance']:.0%}."
        )
    pictures = of.features.collection.subset(drawn.ids)
    page.answers(pictures, systems, maps, k=NEAR, folder=of.files)


def _networks(page: Page, of: _Report) -> None:
    collection = of.features.collection
    indexes = {model: calibrated(ExactIndex.build(made)) for (model, _), made in of.features.items()}
    ids, depth = collection.sample(QUERIES), min(50, len(collection) - 1)
    page.heading("Neighbours by network")
    if len(indexes) > 1:
        compared = min(10, depth)
        asked = np.sort(np.random.default_rng(0).permutation(len(collection))[:ASKED])
        _say_sample(page, len(asked), len(collection))
        rows = {
            model: indexes[model].search(made.vectors[asked], compared, own=asked)[0]
            for (model, _), made in of.features.items()
        }
        table = disagreement(collection.table["id"].iloc[asked], rows)
        label = table["id"].map(dict(zip(collection.ids, collection.labels, strict=True)))
        ids = table["id"][~label.duplicated() | label.isna()].head(QUERIES)
        page.text(
            f"On average, two networks share {table['overlap'].mean():.0%} of their first {compared} neighbours. These "
            "are the queries on which the networks differ most, at most one per label. The last column fuses all "
            "networks by reciprocal rank."
        )
    for id in ids:
        lists = query_all(indexes, id, depth)
        fused = {"fused (rrf)": fuse(lists, "rrf", k=of.k)} if len(lists) > 1 else {}
        page.grid(collection, id, {name: table.head(of.k) for name, table in lists.items()} | fused)


def _evaluation(page: Page, of: _Report) -> None:
    page.heading("Retrieval quality")
    if not of.features.collection.table["label"].dropna().duplicated().any():
        page.text("No two pictures share a label, so there is no ground truth to evaluate against.")
        return
    found = compare(of.features, fusions=("vote", "rrf", "combsum"), sample=ASKED, progress=False)
    best = found.table["system"].iloc[0]
    page.text(
        f"{found.asked:,} pictures query all others; those with the same label are relevant. Systems are sorted by "
        "mAP, shown with its 95% confidence interval; difference and p are relative to "
        f"{next(iter(found.evaluations))}."
    )
    page.evaluation(found)
    page.text(f"Results by label of the best system, {best}:")
    page.table(found[best].by_label().rename("mAP").reset_index())


_PARTS = {
    "intake": _intake,
    "answers": _answers,
    "near-duplicates": _near_duplicates,
    "networks": _networks,
    "evaluation": _evaluation,
}
