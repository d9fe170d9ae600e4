"""A folder of pictures in one page: what is in it, what looks the same, where things lie, where networks differ."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import QueryError, check_k
from ..features import Features, FeatureSet, concatenate, extract
from ..index import THRESHOLD, ExactIndex, near_duplicates, query_all
from ..intake import Collection
from ..measure import compare, disagreement, fuse, neighbour_purity
from ..store import Store
from .mapping import Map
from .page import Page
from .palette import label_groups

LAYER = "penultimate"
SHOWN, GROUPS, ON_MAP, QUERIES, LISTED = 48, 10, 3000, 6, 50
"""Pictures of the contact sheet, groups of near-duplicates, at most so many pictures on the map, queries in grids, and
rejected files that are named."""


def write_report(
    folder: str | os.PathLike,
    output: str | os.PathLike,
    *,
    models: str | list = model_table.BUNDLED,
    k: int = 4,
    store: str | os.PathLike | Store | None = None,
    progress: bool = True,
) -> Path:
    """Write a page about a folder of pictures, as `amulsearch report` does; returns its path.

    models: see `extract`; their penultimate layers are compared. k: how many neighbours a grid shows.
    store: keeps the features for the next time; without it nothing is kept.

    The page has the intake (what was left out, and why), a contact sheet, near-duplicates, the map, the queries on
    which the networks differ most, and, where folders say what belongs together, how well each network and their
    fusions find it.

    Raises AmulsearchError where there are no two pictures, or the page cannot be written; that is tried first.
    """
    output, k = _writable(output), check_k(k, k)
    collection = Collection.from_folder(folder, progress=progress)
    if len(collection) > 1:
        features = extract(collection, models, LAYER, store=store, progress=progress)
        collection = features.collection
    if len(collection) < 2:
        raise QueryError(
            f"of the pictures in {folder} only {len(collection)} can be used: a report compares at least two"
        )
    joined = concatenate(list(features.values()))
    page = Page(f"{len(collection):,} pictures of {collection.folder.name or collection.folder}")
    bar = tqdm(_PARTS.items(), unit="part", delay=1, disable=not progress)
    for name, part in bar:
        bar.set_description(f"report: {name}")
        part(page, features, joined, min(k, len(collection) - 1))
    return page.save(output)


def _writable(output: str | os.PathLike) -> Path:
    """The path, where a file can be written beside it."""
    output = Path(output).expanduser()
    if output.is_dir():
        raise QueryError(f"{output} is a folder: give a file for the page, such as {output / 'report.html'}")
    try:
        with tempfile.TemporaryFile(dir=output.parent):
            return output
    except OSError as error:
        raise QueryError(f"the page cannot be written to {output}: {error.strerror or error}") from None


def _intake(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    collection, table = features.collection, features.collection.table
    about = {
        "pictures": f"{len(table):,}",
        "labels": f"{table['label'].nunique():,}; {table['label'].isna().sum():,} pictures have none",
        "formats": ", ".join(f"{name} {count:,}" for name, count in table["format"].value_counts().items()),
        "width": f"{table['width'].min():,} to {table['width'].max():,} pixels",
        "height": f"{table['height'].min():,} to {table['height'].max():,} pixels",
        "animations": f"{(table['frames'] > 1).sum():,}",
        "rejected": f"{len(collection.rejected):,}",
        "passed over": "; ".join(f"{kind}: {n:,}" for kind, n in collection.passed_over.items()) or "nothing",
    }
    page.heading("What is in the folder")
    page.table(pd.DataFrame(list(about.items()), columns=["", " "]))
    if len(collection.rejected):
        page.text("These files look like pictures and cannot be used:")
        page.table(collection.rejected.head(LISTED))
        if len(collection.rejected) > LISTED:
            page.text(f"and {len(collection.rejected) - LISTED:,} more")
    ids = collection.sample(SHOWN)
    page.text("All of them:" if len(ids) == len(table) else f"{len(ids)} of them, drawn by lot:")
    page.contact_sheet(collection, ids)


def _near_duplicates(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    table, same = near_duplicates(joined), len(features.collection.duplicates())
    page.heading("Near-duplicates")
    if table.empty:
        page.text(f"No two pictures have a cosine of {THRESHOLD} or more.")
        return
    groups = table["group"].nunique()
    page.text(
        f"{groups:,} groups of {len(table):,} pictures in all, whose vectors are nearly the same: a cosine of "
        f"{THRESHOLD} or more with another of the group. {same:,} files have the same bytes as another."
    )
    page.duplicates(features.collection, table, most=GROUPS)
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _map(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    page.heading("Map")
    if len(joined) > ON_MAP:
        rows = np.sort(np.random.default_rng(0).permutation(len(joined))[:ON_MAP])
        page.text(f"{ON_MAP:,} of the pictures, drawn by lot.")
        joined = Features(joined.vectors[rows], *([of[row] for row in rows] for of in (joined.ids, joined.labels)))
    drawn = Map.fit(joined)
    groups = label_groups(drawn.labels)
    page.text("Pictures that are alike lie near each other. How far apart two are that are not alike means little.")
    if pd.Series(groups, dtype=object).dropna().duplicated().any():
        nearest = min(10, len(drawn) - 1)
        purity = neighbour_purity(drawn.neighbours(nearest), groups)
        page.text(
            f"Of the {nearest} nearest on the map {purity['purity']:.0%} are of the group of their picture, the colour "
            f"of its frame; of as many drawn by lot {purity['chance']:.0%} would be."
        )
    page.map(features.collection, drawn, groups=groups)


def _networks(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    collection = features.collection
    indexes = {model: ExactIndex.build(made) for (model, _), made in features.items()}
    ids, depth = collection.sample(QUERIES), min(50, len(collection) - 1)
    page.heading("What the networks find")
    if len(indexes) > 1:
        compared = min(10, depth)
        rows = {name: index.all_neighbours(compared)[0] for name, index in indexes.items()}
        table = disagreement(collection.ids, rows)
        label = table["id"].map(dict(zip(collection.ids, collection.labels, strict=True)))
        ids = table["id"][~label.duplicated() | label.isna()].head(QUERIES)
        page.text(
            f"Two networks share {table['overlap'].mean():.0%} of their first {compared} neighbours on average. These "
            "are the queries on which they differ most, at most one of a label. The last column fuses all networks by "
            "reciprocal ranks."
        )
    for id in ids:
        lists = query_all(indexes, id, depth)
        fused = {"fused (rrf)": fuse(lists, "rrf", k=k)} if len(lists) > 1 else {}
        page.grid(collection, id, {name: table.head(k) for name, table in lists.items()} | fused)


def _evaluation(page: Page, features: FeatureSet, joined: Features, k: int) -> None:
    page.heading("How well they find")
    if not features.collection.table["label"].dropna().duplicated().any():
        page.text("No two pictures have the same label, so nothing says what belongs together.")
        return
    found = compare(features, fusions=("vote", "rrf", "combsum"), progress=False)
    best = found.table["system"].iloc[0]
    page.text(
        "Every picture asks for all others, and the same label counts as right. Best first by mAP, with its 95% "
        f"interval; the difference and its p are against {next(iter(found.evaluations))}."
    )
    page.evaluation(found)
    page.text(f"The best, {best}, label by label:")
    page.table(found[best].by_label().rename("mAP").reset_index())


_PARTS = {
    "intake": _intake,
    "near-duplicates": _near_duplicates,
    "map": _map,
    "networks": _networks,
    "evaluation": _evaluation,
}
