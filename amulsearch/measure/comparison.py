"""Compare networks, layers, poolings, transforms and fusions with a baseline, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import MissingKeyError, QueryError, check_integer
from ..features import Features
from ..index import Index
from .ensemble import fused_similarities
from .evaluation import ANSWERED, Evaluation, column_of, evaluate, holm
from .relevance import Relevance
from .tables import Table, table_of

QUERIES = 5000
"""How many pictures query in `compare`, unless it is told otherwise: the time grows with their number times N."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`; `comparison[name]` is the Evaluation of one system, with its measures by query.

    Attributes
    ----------
    table : Table
        One row per system, best first; see `compare`.
    measure : str
        What the table is sorted by, and what its intervals and differences are of.
    evaluations : dict of name to Evaluation
    asked : int
        How many pictures queried.
    note : str
        Whether these are only a sample, or only the first answers, in sentences; else empty.
    """

    table: Table
    measure: str
    evaluations: dict[str, Evaluation]
    asked: int
    note: str = ""

    def __getitem__(self, name: str) -> Evaluation:
        if name not in self.evaluations:
            raise MissingKeyError(f"there is no system {name!r}: use one of {', '.join(self.evaluations)}")
        return self.evaluations[name]

    def __repr__(self) -> str:
        table = self.table.to_string(float_format="%.3f") if self.asked else repr(self.table)
        return "\n".join(filter(None, (table, self.note)))

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format="%.3f") if self.asked else self.table._repr_html_()
        return table + (self.note and f"<p>{self.note}</p>")


def compare(
    features: Mapping[tuple[str, str], Features],
    relevance: Relevance | None = None,
    *,
    transforms: Mapping[str, Callable[[Features], Features]] | None = None,
    fusions: Sequence[str] = (),
    vote_depth: int = 10,
    others: Mapping[str, object] | None = None,
    baseline: str | None = None,
    measure: str = "mAP",
    queries: Sequence[str] | None = None,
    depth: int | None = None,
    sample: int = QUERIES,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Evaluate every network and layer, with every transform, alone and fused, on the same queries.

    In a large collection a random sample of the pictures queries, each for all others, and the result says so.

    Parameters
    ----------
    features : mapping of (model, layer) to Features
        As `extract` returns them; the pooling is part of a layer's name.
    relevance : Relevance, optional
        By default from the labels of the pictures.
    transforms : mapping of name to function, optional
        Functions from Features to Features. Each is applied to all features, which are also evaluated as they are.
    fusions : sequence of str, default ()
        Methods of `fuse`. All models that have a layer are fused, for each layer and transform.
    vote_depth : int, default 10
        How many neighbours of each list count in "vote", where ranks break ties; 100 do in "combmnz", which counts the
        lists that have a picture; the other methods use whole rankings.
    others : mapping of name to system, optional
        Further systems, as `evaluate` takes them.
    baseline : str, optional
        The name of the system to compare with, as in the table; by default the first.
    measure : str, default "mAP"
        The measure to compare and sort by, one of `MEASURES` or "mAP".
    queries : sequence of str, optional
        The ids to query with; by default, all that have a relevant picture, or a sample of them.
    depth : int, optional
        How many answers of each system to a query are measured: by default all, or if one of `others` is an approximate
        index, 10, and the result says so.
    sample : int, default 5,000
        The size of the sample. All query if they are no more than that, or if `queries` is given.
    seed : int, default 0
        Of the sample.
    progress : bool, default True

    Returns
    -------
    Comparison
        Its table has the columns system, model, layer, transform, fusion, width, the measures, low and high (the 95%
        bootstrap interval of `measure` by query), label_low and label_high (the same by label), and against the
        baseline difference, p (paired randomisation test by query), label_p (the same by label), holm (label_p
        corrected for the number of systems), wins and losses (numbers of queries). Without at least two labels, the
        columns by label are NaN, and holm corrects p. Without any query, it says so when it is shown. See
        `Evaluation.compare` and `holm`.

    Raises
    ------
    QueryError
        If there is nothing to compare, no relevance, neither given nor by the labels of features, or for an unknown
        baseline, measure or method.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> ids, labels = list("abcdef"), ["x", "x", "x", "y", "y", "y"]
    >>> vectors = np.random.default_rng(0).standard_normal((6, 4))
    >>> features = {("net", "penultimate"): am.Features(vectors, ids, labels)}
    >>> features["net", "logits"] = am.Features(np.repeat(np.eye(2), 3, axis=0), ids, labels)
    >>> comparison = am.compare(features, progress=False)
    >>> comparison.table[["system", "mAP", "difference"]].round(2)
                system   mAP  difference
    0       net logits  1.00        0.43
    1  net penultimate  0.57         NaN
    """
    if not isinstance(features, Mapping):
        raise QueryError("compare takes features by (model, layer), as extract returns them")
    if not features and not others:
        raise QueryError("there is nothing to compare: give features or others")
    if relevance is None:
        one = next(iter(features.values())) if features else None
        if one is None:
            raise QueryError("there is no relevance: give relevance=, or features whose pictures have labels")
        relevance = Relevance.from_labels(one.ids, one.labels)
    note = ""
    if queries is None:
        queries, note = _sampled(relevance, check_integer("sample", sample), seed)
    systems = _systems(features, {"": None, **(transforms or {})}, fusions, vote_depth, relevance)
    for name, system in (others or {}).items():
        width = system.vectors.shape[1] if isinstance(system, Features) else None
        systems[name] = ({"model": name, "width": width}, system)
    if depth is None and any(isinstance(system, Index) and system.effort for _, system in systems.values()):
        depth = ANSWERED
        note = f"{note} The first {depth} answers of each system were measured, as one of them is approximate.".strip()
    baseline = next(iter(systems)) if baseline is None else baseline
    if baseline not in systems:
        raise QueryError(f"the baseline {baseline!r} is not among the systems: use one of {', '.join(systems)}")
    column_of(measure)  # an unknown measure is told before anything is computed
    bar = tqdm(systems.items(), desc="compare", unit="system", delay=1, disable=not progress or None)
    done = {name: evaluate(system, relevance, queries=queries, depth=depth) for name, (_, system) in bar}
    labelled = done[baseline].per_query["label"].nunique() > 1
    rows = [
        {"system": name, **about, **_measured(done[name], done[baseline], measure, labelled)}
        for name, (about, _) in systems.items()
    ]
    columns = ["system", "model", "layer", "transform", "fusion", "width"]
    table = pd.DataFrame(rows).reindex(columns=[*columns, *[name for name in rows[0] if name not in columns]])
    table["holm"] = holm(table["label_p" if labelled else "p"])
    names = ["model", "layer", "transform", "fusion"]
    table[names] = table[names].astype(object).where(table[names].notna(), "")
    counts = ["width", "wins", "losses"]
    table[counts] = table[counts].astype("Int64")
    measure, asked = "mAP" if measure == "AP" else measure, len(done[baseline].per_query)
    table = table_of(table.sort_values(measure, ascending=False, ignore_index=True), asked > 0)
    return Comparison(table, measure, done, asked, note)


def _measured(one: Evaluation, baseline: Evaluation, measure: str, labelled: bool) -> dict:
    """What the table of `compare` says about the results of one system."""
    against = {} if one is baseline else one.compare(baseline, measure)
    found = {**one.mean(), **dict(zip(("low", "high"), one.interval(measure), strict=True))}
    by_label = one.interval(measure, by="label") if labelled else (np.nan, np.nan)
    found |= {"label_low": by_label[0], "label_high": by_label[1]}
    found |= {"difference": against.get("difference", np.nan), "p": against.get("p", np.nan)}
    found["label_p"] = one.compare(baseline, measure, by="label")["p"] if labelled and against else np.nan
    found["holm"] = np.nan  # corrected when all are known
    return found | {"wins": against.get("wins"), "losses": against.get("losses")}


def _systems(
    features: Mapping[tuple[str, str], Features],
    transforms: Mapping,
    fusions: Sequence[str],
    vote_depth: int,
    relevance: Relevance,
) -> dict[str, tuple[dict, object]]:
    """The systems of `compare` by name, each with what the table says about it."""
    systems: dict[str, tuple[dict, object]] = {}
    for transform, change in transforms.items():
        by_layer: dict[str, list[Features]] = {}
        for (model, layer), made in features.items():
            made = change(made) if change else made
            by_layer.setdefault(layer, []).append(made)
            about = {"model": model, "layer": layer, "transform": transform, "width": made.vectors.shape[1]}
            systems[" ".join(filter(None, (model, layer, transform)))] = (about, made)
        for layer, parts in by_layer.items():
            for method in fusions if len(parts) > 1 else ():
                about = {"model": f"{len(parts)} models", "layer": layer, "transform": transform, "fusion": method}
                name = " ".join(filter(None, (f"{method} of {len(parts)}", layer, transform)))
                systems[name] = (about, _fused(parts, method, vote_depth, relevance))
    return systems


def _sampled(relevance: Relevance, sample: int, seed: int) -> tuple[list[str] | None, str]:
    """The ids of a sample of the pictures that can query, and a sentence that says so; None and "" if all query."""
    rows = np.arange(len(relevance.ids)) if relevance.queries is None else relevance.queries
    if len(rows) <= sample:
        return None, ""
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:sample])
    note = f"A random sample of {sample:,} of {len(rows):,} pictures queried."
    return [relevance.ids[row] for row in chosen], note


def _fused(parts: Sequence[Features], method: str, vote_depth: int, relevance: Relevance) -> Callable:
    depth = check_integer("vote_depth", vote_depth) if method == "vote" else None
    return fused_similarities(parts, method, depth=depth, relevance=relevance)
