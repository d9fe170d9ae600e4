"""Compare several systems with a baseline, in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import MissingKeyError, QueryError, check_integer
from ..features import Features
from ..index import Persistent, System
from ..systems import Fusion, Relevance
from .evaluation import ANSWERED, Evaluation, column_of, evaluate, holm
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
    systems: Mapping[str | tuple[str, str], object],
    relevance: Relevance | None = None,
    *,
    baseline: str | None = None,
    measure: str = "mAP",
    queries: Sequence[str] | None = None,
    depth: int | None = None,
    sample: int = QUERIES,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Evaluate several systems on the same queries.

    In a large collection a random sample of the pictures queries, each for all others, and the result says so.

    Parameters
    ----------
    systems : Panel, or mapping of str or (str, str) to system
        By name, or by (model, layer) as `extract` returns Features; systems are as `evaluate` takes them.
    relevance : Relevance, optional
        By default from the labels of the pictures.
    baseline : str, optional
        The name of the system to compare with, as in the table; by default the first.
    measure : str, default "mAP"
        The measure to compare and sort by, one of `MEASURES` or "mAP".
    queries : sequence of str, optional
        The ids to query with; by default, all that have a relevant picture, or a sample of them.
    depth : int, optional
        How many answers of each system to a query are measured: by default all, or if one is an approximate index, 10,
        and the result says so.
    sample : int, default 5,000
        The size of the sample. All query if they are no more than that, or if `queries` is given.
    seed : int, default 0
        Of the sample.
    progress : bool, default True

    Returns
    -------
    Comparison
        Its table has the columns system, model, layer, width, the measures, low and high (the 95% bootstrap interval of
        `measure` by query), label_low and label_high (the same by label), and against the baseline difference, p
        (paired randomisation test by query), label_p (the same by label), holm (label_p corrected for the number of
        systems), wins and losses (numbers of queries). Without at least two labels, the columns by label are NaN, and
        holm corrects p. Without any query, it says so when it is shown. See `Evaluation.compare` and `holm`.

    Raises
    ------
    QueryError
        If there is nothing to compare, no relevance, neither given nor by labels, or for an unknown baseline or
        measure.

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
    if not isinstance(systems, Mapping):
        raise QueryError("compare takes systems by name, or features by (model, layer), as extract returns them")
    if not systems:
        raise QueryError("there is nothing to compare: give at least one system")
    named = {" ".join(key) if isinstance(key, tuple) else key: system for key, system in systems.items()}
    if relevance is None:
        first = next(iter(named.values()))
        if not isinstance(first, (Features, System)):
            raise QueryError("there is no relevance: give relevance=, or systems whose pictures have labels")
        relevance = Relevance.from_labels(first.ids, first.labels)
    note = ""
    if queries is None:
        queries, note = _sampled(relevance, check_integer("sample", sample), seed)
    if depth is None and any(isinstance(system, System) and system.effort for system in named.values()):
        depth = ANSWERED
        note = f"{note} The first {depth} answers of each system were measured, as one of them is approximate.".strip()
    baseline = next(iter(named)) if baseline is None else baseline
    if baseline not in named:
        raise QueryError(f"the baseline {baseline!r} is not among the systems: use one of {', '.join(named)}")
    column_of(measure)  # an unknown measure is told before anything is computed
    bar = tqdm(named.items(), desc="compare", unit="system", delay=1, disable=not progress or None)
    evaluations = {name: evaluate(system, relevance, queries=queries, depth=depth) for name, system in bar}
    labelled = evaluations[baseline].per_query["label"].nunique() > 1
    rows = [
        {"system": name, **_described(system), **_measured(evaluations[name], evaluations[baseline], measure, labelled)}
        for name, system in named.items()
    ]
    table = pd.DataFrame(rows)
    table["holm"] = holm(table["label_p" if labelled else "p"])
    counts = ["width", "wins", "losses"]
    table[counts] = table[counts].astype("Int64")
    measure, count = "mAP" if measure == "AP" else measure, len(evaluations[baseline].per_query)
    table = table_of(table.sort_values(measure, ascending=False, ignore_index=True), count > 0)
    return Comparison(table, measure, evaluations, count, note)


def _described(system: object) -> dict:
    """What the table of `compare` says about a system itself: model, layer and width; of a fusion, its method."""
    if isinstance(system, Features):
        made_by = system.fingerprint
        return {"model": made_by.get("model", ""), "layer": made_by.get("layer", ""), "width": system.vectors.shape[1]}
    if isinstance(system, Fusion):
        layers = [str(layer) for layer in system.title[1] if layer]
        return {"model": f"{system.method} of {len(system.systems)}", "layer": " + ".join(layers), "width": None}
    if isinstance(system, Persistent):
        model, layer = system.title
        return {"model": model or "", "layer": layer or "", "width": system.width}
    return {"model": "", "layer": "", "width": None}


def _measured(result: Evaluation, baseline: Evaluation, measure: str, labelled: bool) -> dict:
    """What the table of `compare` says about the results of a system."""
    against = {} if result is baseline else result.compare(baseline, measure)
    low, high = result.interval(measure)
    by_label = result.interval(measure, by="label") if labelled else (np.nan, np.nan)
    return {
        **result.mean(),
        "low": low,
        "high": high,
        "label_low": by_label[0],
        "label_high": by_label[1],
        "difference": against.get("difference", np.nan),
        "p": against.get("p", np.nan),
        "label_p": result.compare(baseline, measure, by="label")["p"] if labelled and against else np.nan,
        "holm": np.nan,  # corrected when all are known
        "wins": against.get("wins"),
        "losses": against.get("losses"),
    }


def _sampled(relevance: Relevance, sample: int, seed: int) -> tuple[list[str] | None, str]:
    """The ids of a sample of the pictures that can query, and a sentence that says so; None and "" if all query."""
    rows = np.arange(len(relevance.ids)) if relevance.queries is None else relevance.queries
    if len(rows) <= sample:
        return None, ""
    chosen = np.sort(np.random.default_rng(seed).permutation(rows)[:sample])
    note = f"A random sample of {sample:,} of {len(rows):,} pictures queried."
    return [relevance.ids[row] for row in chosen], note
