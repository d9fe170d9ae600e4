"""A report about a folder of pictures: contents, any picture as a query, near-duplicates, networks, measures."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from .. import models as model_table
from ..errors import QueryError, check_k, check_output
from ..features import BEST, Features, FeatureSet, concatenate, extract
from ..index import THRESHOLD, DiffusionIndex, ExactIndex, Index, near_duplicates, query_all
from ..intake import Collection, counts_text
from ..measure import Comparison, calibrated, chance_level, compare, fuse, fuse_all, neighbour_purity, overlap
from ..store import Store
from .mapping import Map, sampled
from .page import Page
from .palette import label_groups

LAYER = "penultimate"
SHOWN, GROUPS, QUERIES, LISTED, NEAR, LABELS = 48, 10, 3, 50, 8, 6
"""Maximum numbers of pictures on the contact sheet, groups of near-duplicates, good and hard queries each, rejected
files listed by name, neighbours of each picture that can be asked with, and labels with the best and worst results."""
FUSIONS = ("vote", "rrf", "combsum")
JOINED, ASKED, ANSWERED = 50_000, 2000, 20_000
"""Maximum numbers of pictures among which near-duplicates are searched, of pictures that query all others, for the
differences of the networks and for the evaluation, and of pictures that can be asked with. In a larger folder each is a
random sample, and the page says so."""


def write_report(
    folder: str | os.PathLike | Collection,
    output: str | os.PathLike,
    *,
    models: str | list = model_table.BUNDLED,
    k: int = 4,
    store: str | os.PathLike | Store | None = None,
    progress: bool = True,
) -> Path:
    """Write a report about a folder of pictures to an HTML page, as `amulsearch report` does.

    The page begins with a summary in words. It answers queries by any picture, with a map (see `Page.answers`), and
    shows queries that are answered well and queries on which the networks differ most. If subfolders serve as labels,
    it compares the networks, their fusions and the preset. It ends with near-duplicates and the files that were read,
    skipped and rejected. In a large folder, some parts are made of a random sample, and say so.


    The page is written after each part: if the run is interrupted, it holds the parts that were done.

    Parameters
    ----------
    folder : str, path or Collection
        Folder of pictures, scanned with its subfolders; or the scanned pictures.
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
    output, k = check_output(output, "the page"), check_k(k, k)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # Windows deletes no mapped file
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

    @cached_property
    def some(self) -> dict[str, Features]:
        """The layer of each network, of the pictures that can be asked with."""
        return {model: sampled(made, ANSWERED) for (model, _), made in self.features.items()}

    @cached_property
    def indexes(self) -> dict[str, Index]:
        """The preset and the networks, of the pictures that can be asked with."""
        layers = [sampled(made, ANSWERED) for made in self.layers]
        preset = {"preset best": DiffusionIndex.build(BEST.reduced(layers))} if layers else {}
        indexes = preset | {model: ExactIndex.build(made) for model, made in self.some.items()}
        return {name: calibrated(index) for name, index in indexes.items()}

    @cached_property
    def asked(self) -> np.ndarray:
        """The rows, among the pictures that can be asked with, of those for which systems are compared."""
        count = len(next(iter(self.some.values())))
        return np.sort(np.random.default_rng(0).permutation(count)[:ASKED])

    @cached_property
    def compared(self) -> Comparison | None:
        """The networks, their fusions and the preset, measured by the labels; None if no two pictures share one."""
        pictures = self.features.collection
        if not pictures.table["label"].dropna().duplicated().any():
            return None
        preset = self.indexes.get("preset best")
        others = {"preset best": preset} if preset is not None and len(preset) == len(pictures) else {}
        return compare(self.features, fusions=FUSIONS, others=others, sample=ASKED, progress=False)


def _extracted(folder, models, output: Path, k: int, how: dict) -> _Report:
    """Extract what a report needs, with one pass of each network."""
    collection = folder
    if not isinstance(folder, Collection):
        collection = Collection.from_folder(folder, progress=how["progress"])
    names = [record.name for record in model_table.get_all(models)]
    preset = set(BEST.layers) <= set(names)
    if len(collection) > 1:
        layers = {name: [LAYER, *(BEST.layers.get(name, ()) if preset else ())] for name in names}
        extracted = extract(collection, models, layers, **how)
        collection = extracted.collection
    if len(collection) < 2:
        raise QueryError(
            f"a report needs at least two pictures, but only {len(collection)} of those in {collection.folder} can be "
            "used"
        )
    asked = [(name, layer) for name, own in BEST.layers.items() for layer in own] if preset else []
    of_preset = [extracted[key] for key in asked] if len(collection) > 2 else []
    one_layer = {key: made for key, made in extracted.items() if key[1] == LAYER}
    features = FeatureSet(collection, one_layer, extracted.extracted)
    joined = concatenate([sampled(made, JOINED) for made in features.values()])
    return _Report(features, of_preset, joined, min(k, len(collection) - 1))


def _write(of: _Report, output: Path, progress: bool) -> Path:
    collection = of.features.collection
    title = f"{len(collection):,} pictures in {collection.folder.name or collection.folder}"
    page = Page(f"{title} (unfinished)")
    bar = tqdm(_PARTS.items(), unit="part", delay=1, disable=not progress or None)
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


def _summary(page: Page, of: _Report) -> None:
    """What there is and how well it is found, in words."""
    collection = of.features.collection
    told = [f"{len(collection):,} pictures can be searched."]
    if len(collection.rejected):
        files = "file looks like a picture" if len(collection.rejected) == 1 else "files look like pictures"
        told.append(f"{len(collection.rejected):,} more {files} but cannot be used; the last part lists them.")
    if of.compared is None:
        page.text(" ".join(told))
        page.text(
            "No two pictures share a label, so nothing says which results are right, and nothing is measured. Sort "
            "some pictures into subfolders, two or more into each, to have the networks compared."
        )
        return
    table = of.compared.table
    best, first = table["system"].iat[0], table.set_index("system")["P@1"]
    single = first[[f"{model} {layer}" for model, layer in of.features]].idxmax()
    asked, sampled_ones = of.compared.asked, "a random sample of " if of.compared.note else "the "
    whom = "them" if asked == len(collection) else f"{sampled_ones}{asked:,} pictures whose label another one has"
    nearest = "neighbour" if collection.table["label"].notna().all() else "neighbour with a label"
    told.append(
        f"For {first[best]:.0%} of {whom}, the nearest {nearest} has the same label, that is, it lies in the same "
        f"subfolder, if {best} is asked; by chance it would be {chance_level(collection.labels):.0%}."
    )
    if best != single:
        told.append(f"The best single network, {single}, finds {first[single]:.0%}.")
    page.text(" ".join(told))


def _contents(page: Page, of: _Report) -> None:
    collection, table = of.features.collection, of.features.collection.table
    about = {
        "pictures": f"{len(table):,}",
        "labels": f"{table['label'].nunique():,}; {table['label'].isna().sum():,} pictures without a label",
        "formats": ", ".join(f"{name} {count:,}" for name, count in table["format"].value_counts().items()),
        "width": f"{table['width'].min():,} to {table['width'].max():,} pixels",
        "height": f"{table['height'].min():,} to {table['height'].max():,} pixels",
        "animations": f"{(table['frames'] > 1).sum():,}",
        "rejected": f"{len(collection.rejected):,}",
        "skipped": counts_text(collection.passed_over) or "nothing",
    }
    page.heading("Contents of the folder")
    page.table(pd.DataFrame(list(about.items()), columns=["property", "value"]))
    if len(collection.rejected):
        page.text("These files look like pictures but cannot be used:")
        page.table(collection.rejected.head(LISTED))
        if len(collection.rejected) > LISTED:
            page.text(f"and {len(collection.rejected) - LISTED:,} more")
    ids = collection.sample(SHOWN)
    page.text("All pictures:" if len(ids) == len(table) else f"{len(ids)} of the {len(table):,} pictures, at random:")
    page.contact_sheet(collection, ids)


def _near_duplicates(page: Page, of: _Report) -> None:
    table, digests = near_duplicates(of.joined), of.features.collection.table.set_index("id")["digest"]
    page.heading("Near-duplicates")
    _say_sample(page, len(of.joined), len(of.features.collection))
    if table.empty:
        page.text(f"No two pictures have a cosine similarity of {THRESHOLD} or more.")
        return
    groups, copies = table["group"].nunique(), table["id"].map(digests).duplicated(keep=False).sum()
    noun = "group" if groups == 1 else "groups"
    exact = f"{copies:,} of these pictures are" if copies else "None of these pictures is"
    page.text(
        f"{groups:,} {noun} with {len(table):,} pictures in total. Each picture has a cosine similarity of {THRESHOLD} "
        f"or more to the first in its group; the least is {table['cosine'].min():.3f}. {exact} "
        "byte for byte the same as another in the group."
    )
    page.duplicates(of.features.collection, table, most=GROUPS)
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _answers(page: Page, of: _Report) -> None:
    """Every picture can be asked with; of a large folder, those of a sample."""
    page.heading("Ask with any picture")
    parts = list(of.some.values())
    _say_sample(page, len(parts[0]), len(of.features.collection))
    systems: dict[str, Index | tuple] = dict(of.indexes)
    if len(parts) > 1:
        lists = {model: of.indexes[model].all_neighbours(min(50, len(parts[0]) - 1)) for model in of.some}
        systems |= {method: fuse_all(lists, method, k=NEAR) for method in FUSIONS}
    first = next(iter(of.some))
    maps = {"all networks" if len(parts) > 1 else first: Map.fit(concatenate(parts))}
    if len(parts) > 1:
        maps[first] = Map.fit(parts[0])
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
    page.answers(pictures, systems, maps, k=NEAR)


def _examples(page: Page, of: _Report) -> None:
    """Queries that are answered well, then queries on which the networks differ most, at most one for each label."""
    one, asked = next(iter(of.some.values())), of.asked
    depth = min(10, len(one) // 2)  # of few pictures, each is the neighbour of all
    deep = max(depth, of.k)
    found = {name: index.search(index._take(asked), deep, own=asked)[0] for name, index in of.indexes.items()}
    ids, labels = np.array(one.ids, dtype=object)[asked], np.array(one.labels, dtype=object)
    known = np.array([label is not None for label in labels])
    same = (np.where(known[rows], labels[rows] == labels[asked, None], np.nan)[:, : of.k] for rows in found.values())
    first, *others = (pd.DataFrame(hits).mean(axis=1).fillna(0).to_numpy() for hits in same)
    gain = first - np.mean(others, axis=0) if others else first
    good = pd.DataFrame({"id": ids, "hits": first, "gain": gain})[known[asked] & (first > 0)]
    good = _one_a_label(good.sort_values(["hits", "gain"], ascending=False, kind="stable"), one)
    if len(good):
        page.heading(f"Where {next(iter(found))} is right")
        _say_sample(page, len(asked), len(of.features.collection))
        page.text("Queries whose neighbours have their label, most of all where the others have fewer.")
        _grids(page, of, good)
    networks = {model: found[model][:, :depth] for model in of.some}
    if len(networks) > 1:
        shared = np.mean([overlap(a, b) for a, b in combinations(networks.values(), 2)], axis=0)
        if shared.min() == 1:
            return
        page.heading("Where the networks differ most")
        _say_sample(page, len(asked), len(of.features.collection))
        page.text(
            f"On average, two networks share {shared.mean():.0%} of their first {depth} neighbours. These "
            "are the queries for which they share the fewest: hard ones."
        )
        hard = pd.DataFrame({"id": ids[np.argsort(shared, kind="stable")]})
        _grids(page, of, _one_a_label(hard[~hard["id"].isin(good)], one))


def _one_a_label(table: pd.DataFrame, features: Features) -> list[str]:
    """The first ids of a table, at most one for each label."""
    label = table["id"].map(dict(zip(features.ids, features.labels, strict=True)))
    return table["id"][~label.duplicated() | label.isna()].head(QUERIES).tolist()


def _grids(page: Page, of: _Report, ids: list[str]) -> None:
    """A grid for each query: the preset, the networks and their fusion."""
    for id in ids:
        lists = query_all(of.indexes, id, min(50, len(of.some[next(iter(of.some))]) - 1))
        networks = [lists[model] for model in of.some]
        fused = {"fused (combsum)": fuse(networks, "combsum", k=of.k)} if len(networks) > 1 else {}
        page.grid(of.features.collection, id, {name: table.head(of.k) for name, table in lists.items()} | fused)


def _quality(page: Page, of: _Report) -> None:
    page.heading("Retrieval quality")
    if of.compared is None:
        page.text("No two pictures share a label, so there is no ground truth to evaluate against.")
        return
    found, best = of.compared, of.compared.table["system"].iat[0]
    page.text(f"{found.asked:,} pictures query all others; those with the same label are relevant.")
    page.evaluation(found)
    by_label = found[best].by_label().rename("mAP").reset_index()
    page.text(f"Results of {best} by label, best first:")
    page.table(by_label.head(LABELS) if len(by_label) > 2 * LABELS else by_label)
    if len(by_label) > 2 * LABELS:
        page.text(f"and the last {LABELS} of {len(by_label)} labels:").table(by_label.tail(LABELS))


_PARTS = {
    "summary": _summary,
    "answers": _answers,
    "examples": _examples,
    "quality": _quality,
    "near-duplicates": _near_duplicates,
    "contents": _contents,
}
