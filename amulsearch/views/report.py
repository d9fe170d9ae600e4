"""A report about a folder of pictures: which system to use, any picture as a query, near-duplicates, contents."""

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

from .. import models as networks  # loads no network
from ..errors import QueryError, check_integer, check_k, check_output
from ..features import Features, FeatureSet, concatenate, extract
from ..intake import Collection, counts_text
from ..measure import LEAST, Recommendation, chance_level, overlap, precision_at_k, recommend
from ..store import Store
from ..systems import BEST, THRESHOLD, Panel, near_duplicates
from .mapping import Map, sampled
from .page import Page
from .palette import label_groups
from .plot import systems_chart

LAYERS, SHOWN_LAYER = ("logits", "penultimate", "last:gem"), "penultimate"
"""The layers of each network that are compared, and the one whose neighbours the page shows."""
FUSIONS = ("vote", "rrf", "combsum")
SHEET, GROUPS, QUERIES, LISTED, NEAR, LABELS = 48, 10, 3, 50, 8, 6
"""Maximum numbers of pictures on the contact sheet, groups of near-duplicates, good and hard queries each, rejected
files listed by name, neighbours of each picture that can be asked with, and labels with the best and worst results."""
COMPARED, JOINED, ANSWERED = 2000, 50_000, 20_000
"""Maximum numbers of pictures that query for the measures, among which near-duplicates are searched, and that can be
asked with. In a larger folder each is a random sample, and the page says so."""


def write_report(
    folder: str | os.PathLike | Collection,
    output: str | os.PathLike | None = None,
    *,
    models: str | list = networks.BUNDLED,
    k: int = 4,
    store: str | os.PathLike | Store | None = None,
    sample: int = COMPARED,
    progress: bool = True,
) -> Recommendation | None:
    """Say which system to use for a folder of pictures, and write a page about it, as `amulsearch report` does.

    The page begins with that advice. It answers queries by any picture, with a map (see `Page.answers`), and shows
    queries that are answered well and queries on which the networks differ most. Networks, layers, their fusions and
    the preset are compared, by the subfolders as labels if there are any. It ends with near-duplicates and the files
    that were read, skipped and rejected. In a large folder, some parts are made of a random sample, and say so.

    The page is written after each part: if the run is interrupted, it holds the parts that were done.

    Parameters
    ----------
    folder : str, path or Collection
        Folder of pictures, scanned with its subfolders; or the scanned pictures.
    output : str or path, optional
        HTML file to write. Without it, only `sample` pictures are compared.
    models : str or list, default `models.BUNDLED`
        Networks, as `extract` takes them. The preset is among the systems if its networks are.
    k : int, default 4
        Number of neighbours in each column of a grid.
    store : str, path or Store, optional
        Keeps the features for later runs. By default they are discarded.
    sample : int, default 2000
        How many pictures query for the measures: a random sample, or all if there are fewer.
    progress : bool, default True
        Show progress bars.

    Returns
    -------
    Recommendation or None
        None for fewer than five pictures.

    Raises
    ------
    QueryError
        If fewer than two pictures can be used, `k` or `sample` is not a positive integer, or `output` is a folder or
        cannot be written; these are checked before any work starts.
    AmulsearchError
        If `folder` does not exist or has no usable picture, or if a network is unknown.

    See Also
    --------
    Page : Build a page part by part.
    """
    output = None if output is None else check_output(output, "the page")
    k, sample = check_k(k, k), check_integer("sample", sample)
    collection = folder
    if not isinstance(folder, Collection):
        collection = Collection.from_folder(folder, progress=progress)
    if output is None and len(collection) > sample:
        collection = collection.subset(collection.sample(sample))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # Windows deletes no mapped file
        features = _extracted(collection, models, {"store": store or temporary, "progress": progress})
        report = _Report(features, sample, min(k, len(features.collection) - 1), progress)
        if output is not None:
            _write(report, output, progress)
        return report.recommendation


def _extracted(collection: Collection, models, how: dict) -> FeatureSet:
    """Every layer that is compared, and those of the preset, with one pass of each network."""
    records = networks.get_all(models)
    layers = {model.name: [layer for layer in LAYERS if layer != "logits" or model.classes != 0] for model in records}
    if BEST.layers.keys() <= layers.keys():
        layers |= {name: list(dict.fromkeys([*layers[name], *own])) for name, own in BEST.layers.items()}
    if len(collection) > 1:
        features = extract(collection, records, layers, **how)
        collection = features.collection
    if len(collection) < 2:
        raise QueryError(
            f"a report needs at least two pictures, but only {len(collection)} of those in {collection.folder} can be "
            "used"
        )
    return features


@dataclass(frozen=True, eq=False)
class _Report:
    """What the parts of a report are made from."""

    features: FeatureSet
    sample: int
    k: int
    progress: bool

    @cached_property
    def some(self) -> FeatureSet:
        """The features of the pictures that can be asked with."""
        layers = {key: sampled(layer, ANSWERED) for key, layer in self.features.items()}
        ids = next(iter(layers.values())).ids
        whole = self.features.collection
        return FeatureSet(whole if len(ids) == len(whole) else whole.subset(ids), layers, 0)

    @cached_property
    def panel(self) -> Panel:
        """The preset, the networks by layer and their fusions."""
        preset = {}
        if self.some.keys() >= set(BEST.keys) and len(self.some.collection) > 2:
            preset = {f"preset {BEST.name}": BEST.diffusion([self.some[key] for key in BEST.keys])}
        layers = {key: layer for key, layer in self.some.items() if key[1] in LAYERS}
        return Panel({**preset, **layers}, fusions=FUSIONS, calibrate=True)

    @cached_property
    def titles(self) -> dict[str, str]:
        """The systems whose neighbours the page shows, by their names."""
        return self.panel.titles(SHOWN_LAYER)

    @cached_property
    def networks(self) -> dict[str, Features]:
        """The layer of each network that the page shows."""
        return {model: layer for (model, name), layer in self.some.items() if name == SHOWN_LAYER}

    @cached_property
    def recommendation(self) -> Recommendation | None:
        if len(self.some.collection) < LEAST:
            return None
        return recommend(self.panel, self.some.collection, sample=self.sample, progress=self.progress)

    @cached_property
    def rows(self) -> np.ndarray:
        """The rows of the pictures for which systems are compared."""
        count = len(self.some.collection)
        return np.sort(np.random.default_rng(0).permutation(count)[: self.sample])


def _write(report: _Report, output: Path, progress: bool) -> None:
    collection = report.features.collection
    title = f"{len(collection):,} pictures in {collection.folder.name or collection.folder}"
    page = Page(f"{title} (unfinished)")
    bar = tqdm(_PARTS.items(), unit="part", delay=1, disable=not progress or None)
    for name, part in bar:
        bar.set_description(f"report: {name}")
        part(page, report)
        page.save(output)
    page.title = title
    page.save(output)


def _say_sample(page: Page, part: int, whole: int) -> None:
    """Say that what follows is about a sample of the pictures, if it is."""
    if part < whole:
        page.text(f"A random sample of {part:,} of the {whole:,} pictures.")


def _summary(page: Page, report: _Report) -> None:
    """Which system to use, what there is, and how well it is found, in words."""
    collection, advice = report.features.collection, report.recommendation
    sentences = [advice.advice] if advice else []
    contents = [f"{len(collection):,} pictures can be searched."]
    if len(collection.rejected):
        files = "file looks like a picture" if len(collection.rejected) == 1 else "files look like pictures"
        contents.append(f"{len(collection.rejected):,} more {files} but cannot be used; the last part lists them.")
    if advice and advice.comparison:
        table = advice.comparison.table.set_index("system")
        right, chance = table["P@1"][advice.system], chance_level(report.some.collection.labels)
        contents.append(
            f"For {right:.0%} of the {advice.queries:,} pictures that queried, the nearest neighbour with a label has "
            f"the same label, that is, it lies in the same subfolder, if {advice.system} is asked; by chance it would "
            f"be {chance:.0%}."
        )
    page.text("\n\n".join([*sentences, " ".join(contents)]))


def _answers(page: Page, report: _Report) -> None:
    """Every picture can be asked with; of a large folder, those of a sample."""
    page.heading("Ask with any picture")
    pictures, parts = report.some.collection, list(report.networks.values())
    _say_sample(page, len(pictures), len(report.features.collection))
    first = next(iter(report.networks))
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
        purity = precision_at_k({"map": drawn.neighbours(nearest)}, groups, at=[nearest]).iat[0, 0]
        page.text(
            f"On average, {purity:.0%} of a picture's {nearest} nearest neighbours on the map belong to its group; the "
            f"chance level is {chance_level(groups):.0%}."
        )
    systems = {title: report.panel[name] for name, title in report.titles.items()}
    page.answers(pictures, systems, maps, k=NEAR)


def _examples(page: Page, report: _Report) -> None:
    """Queries that are answered well, then queries on which the networks differ most, at most one for each label."""
    pictures, rows = report.some.collection, report.rows
    depth = min(10, len(pictures) // 2)  # of few pictures, each is the neighbour of all
    systems = {title: report.panel[name] for name, title in report.titles.items() if title not in FUSIONS}
    lists = {
        title: system.rank([part.take(rows) for part in system.parts], max(depth, report.k), rows)[0]
        for title, system in systems.items()
    }
    ids, labels = np.array(pictures.ids, dtype=object)[rows], np.array(pictures.labels, dtype=object)
    known = np.array([label is not None for label in labels])
    same = (np.where(known[near], labels[near] == labels[rows, None], np.nan)[:, : report.k] for near in lists.values())
    first, *others = (pd.DataFrame(hits).mean(axis=1).fillna(0).to_numpy() for hits in same)
    gain = first - np.mean(others, axis=0) if others else first
    good = pd.DataFrame({"id": ids, "hits": first, "gain": gain})[known[rows] & (first > 0)]
    good = _one_a_label(good.sort_values(["hits", "gain"], ascending=False, kind="stable"), pictures)
    if len(good):
        page.heading(f"Where {next(iter(lists))} is right")
        _say_sample(page, len(rows), len(report.features.collection))
        page.text("Queries whose neighbours have their label, most of all where the others have fewer.")
        _grids(page, report, good)
    networks = [near[:, :depth] for title, near in lists.items() if title in report.networks]
    if len(networks) < 2:
        return
    shared = np.mean([overlap(a, b) for a, b in combinations(networks, 2)], axis=0)
    if shared.min() == 1:
        return
    page.heading("Where the networks differ most")
    _say_sample(page, len(rows), len(report.features.collection))
    page.text(
        f"On average, two networks share {shared.mean():.0%} of their first {depth} neighbours. These "
        "are the queries for which they share the fewest: hard ones."
    )
    hard = pd.DataFrame({"id": ids[np.argsort(shared, kind="stable")]})
    _grids(page, report, _one_a_label(hard[~hard["id"].isin(good)], pictures))


def _one_a_label(table: pd.DataFrame, pictures: Collection) -> list[str]:
    """The first ids of a table, at most one for each label."""
    label = table["id"].map(dict(zip(pictures.ids, pictures.labels, strict=True)))
    return table["id"][~label.duplicated() | label.isna()].head(QUERIES).tolist()


def _grids(page: Page, report: _Report, ids: list[str]) -> None:
    """A grid for each query: the preset, the networks and their fusion by CombSUM."""
    titles = {name: title for name, title in report.titles.items() if title not in FUSIONS[:-1]}
    for id in ids:
        lists = report.panel.query(id, report.k, systems=list(titles))
        page.grid(report.some.collection, id, {titles[name]: table for name, table in lists.items()})


def _quality(page: Page, report: _Report) -> None:
    advice = report.recommendation
    page.heading("Which system is best")
    if advice is None:
        page.text("There are too few pictures to compare systems.")
        return
    by_labels = advice.comparison is not None
    page.figure(systems_chart(advice), f"{advice.measure} of each system, with its 95% interval")
    meaning = (
        f"{advice.queries:,} pictures query all others; those with the same label are relevant. mAP: how well they "
        "come before all others; it is low for a vote, which ranks only the pictures that it lists."
        if by_labels
        else "No two pictures share a label, or too few do: nothing is measured but agreement. Sort some pictures into "
        "subfolders to have the systems measured."
    )
    page.text(
        f"{meaning} agreement: how much of a system's first ten neighbours the other systems find too. low and high: "
        f"the 95% interval over {'labels' if by_labels else 'queries'}. first: the fraction of random draws in which "
        "the system is best. ms: the time for a new picture, once the networks are loaded. kB: vectors of a picture."
    )
    page.table(advice.table)
    if not by_labels:
        return
    page.evaluation(advice.comparison)
    by_label = advice.comparison[advice.system].by_label().rename("mAP").reset_index()
    page.text(f"Results of {advice.system} by label, best first:")
    page.table(by_label.head(LABELS) if len(by_label) > 2 * LABELS else by_label)
    if len(by_label) > 2 * LABELS:
        page.text(f"and the last {LABELS} of {len(by_label)} labels:").table(by_label.tail(LABELS))


def _near_duplicates(page: Page, report: _Report) -> None:
    collection = report.features.collection
    layers = [layer for (_, name), layer in report.features.items() if name == SHOWN_LAYER]
    joined = concatenate([sampled(layer, JOINED) for layer in layers])
    table, digests = near_duplicates(joined), collection.table.set_index("id")["digest"]
    page.heading("Near-duplicates")
    _say_sample(page, len(joined), len(collection))
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
    page.duplicates(collection, table, most=GROUPS)
    if groups > GROUPS:
        page.text(f"and {groups - GROUPS:,} more groups")


def _contents(page: Page, report: _Report) -> None:
    collection, table = report.features.collection, report.features.collection.table
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
    ids = collection.sample(SHEET)
    page.text("All pictures:" if len(ids) == len(table) else f"{len(ids)} of the {len(table):,} pictures, at random:")
    page.contact_sheet(collection, ids)


_PARTS = {
    "summary": _summary,
    "answers": _answers,
    "examples": _examples,
    "quality": _quality,
    "near-duplicates": _near_duplicates,
    "contents": _contents,
}
