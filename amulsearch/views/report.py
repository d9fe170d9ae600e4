"""A report about a folder of pictures: contents, near-duplicates, map, neighbours by network, retrieval quality."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import QueryError, check_k
from ..features import Features, FeatureSet, concatenate, extract
from ..index import THRESHOLD, ExactIndex, near_duplicates, query_all
from ..intake import Collection
from ..measure import calibrated, compare, disagreement, fuse, neighbour_purity
from ..store import Store
from .mapping import Map, sampled
from .page import Page, writable
from .palette import label_groups

LAYER = "penultimate"
SHOWN, GROUPS, ON_MAP, QUERIES, LISTED = 48, 10, 3000, 6, 50
"""Maximum numbers of pictures on the contact sheet, groups of near-duplicates, pictures on the map, queries in grids
and rejected files listed by name."""
JOINED, ASKED = 50_000, 2000
"""Maximum numbers of pictures among which near-duplicates are searched, and of pictures that query all others, for the
differences of the networks and for the evaluation. In a larger folder each is a random sample, and the page says so."""


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

    The page shows the files that were read, skipped and rejected, a contact sheet, near-duplicates, a map and the
    queries on which the networks differ most. If subfolders serve as labels, it also evaluates each network and their
    fusions. In a large folder, some parts are made of a random sample, and say so.

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
    collection = Collection.from_folder(folder, progress=progress)
    if len(collection) > 1:
        features = extract(collection, models, LAYER, store=store, progress=progress)
        collection = features.collection
    if len(collection) < 2:
        raise QueryError(
            f"a report needs at least two pictures, but only {len(collection)} of those in {folder} can be used"
        )
    joined = concatenate([sampled(made, JOINED) for made in features.values()])
    title = f"{len(collection):,} pictures in {collection.folder.name or collection.folder}"
    page = Page(f"{title} (unfinished)")
    bar = tqdm(_PARTS.items(), unit="part", delay=1, disable=not progress)
    for name, part in bar:
        bar.set_description(f"report: {name}")
        part(page, features, joined, min(k, len(collection) - 1))
        page.save(output)
    page.title = title
    return page.save(output)


def _say_sample(page: Page, part: int, whole: int) -> None:
    """Say that what follows is about a sample of the pictures, if it is."""
    if part < whole:
        page.text(f"A random sample of {part:,} of the {whole:,} pictures.")


def _intake(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    collection, table = features.collection, features.collection.table
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
    page.table(pd.DataFrame(list(about.items()), columns=["", " "]))
    if len(collection.rejected):
        page.text("These files look like pictures but cannot be used:")
        page.table(collection.rejected.head(LISTED))
        if len(collection.rejected) > LISTED:
            page.text(f"and {len(collection.rejected) - LISTED:,} more")
    ids = collection.sample(SHOWN)
    page.text("All pictures:" if len(ids) == len(table) else f"A random sample of {len(ids)} pictures:")
    page.contact_sheet(collection, ids)


def _near_duplicates(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    table, same = near_duplicates(joined), len(features.collection.duplicates())
    page.heading("Near-duplicates")
    _say_sample(page, len(joined), len(features.collection))
    if table.empty:
        page.text(f"No two pictures have a cosine similarity of {THRESHOLD} or more.")
        return
    groups = table["group"].nunique()
    page.text(
        f"{groups:,} groups with {len(table):,} pictures in total. Each picture has a cosine similarity of {THRESHOLD} "
        f"or more to another in its group. In the whole folder, {same:,} files are byte-for-byte identical to another."
    )
    page.duplicates(features.collection, table, most=GROUPS)
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _map(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    page.heading("Map")
    drawn = Map.fit(joined, sample=ON_MAP)
    _say_sample(page, len(drawn), len(features.collection))
    groups = label_groups(drawn.labels)
    page.text("Similar pictures lie near each other. Distances between dissimilar pictures mean little.")
    if pd.Series(groups, dtype=object).dropna().duplicated().any():
        nearest = min(10, len(drawn) - 1)
        purity = neighbour_purity(drawn.neighbours(nearest), groups)
        page.text(
            f"On average, {purity['purity']:.0%} of a picture's {nearest} nearest neighbours on the map belong to its "
            f"group, shown by the colour of the frame; the chance level is {purity['chance']:.0%}."
        )
    page.map(features.collection, drawn, groups=groups)


def _networks(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    collection = features.collection
    indexes = {model: calibrated(ExactIndex.build(made)) for (model, _), made in features.items()}
    ids, depth = collection.sample(QUERIES), min(50, len(collection) - 1)
    page.heading("Neighbours by network")
    if len(indexes) > 1:
        compared = min(10, depth)
        asked = np.sort(np.random.default_rng(0).permutation(len(collection))[:ASKED])
        _say_sample(page, len(asked), len(collection))
        rows = {
            model: indexes[model].search(made.vectors[asked], compared, own=asked)[0]
            for (model, _), made in features.items()
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
        fused = {"fused (rrf)": fuse(lists, "rrf", k=k)} if len(lists) > 1 else {}
        page.grid(collection, id, {name: table.head(k) for name, table in lists.items()} | fused)


def _evaluation(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    page.heading("Retrieval quality")
    if not features.collection.table["label"].dropna().duplicated().any():
        page.text("No two pictures share a label, so there is no ground truth to evaluate against.")
        return
    found = compare(features, fusions=("vote", "rrf", "combsum"), sample=ASKED, progress=False)
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
    "near-duplicates": _near_duplicates,
    "map": _map,
    "networks": _networks,
    "evaluation": _evaluation,
}
