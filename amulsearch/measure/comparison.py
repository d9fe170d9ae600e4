"""Compare several systems with a baseline, in one table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from ..errors import MissingKeyError, QueryError, check_integer
from ..features import Features
from ..index import System
from ..systems import Relevance
from .evaluation import ANSWERED, Evaluation, column_of, evaluate, holm
from .tables import Table, table_of

COMPARED = ("low", "high", "label_low", "label_high", "difference", "p", "label_p", "holm", "wins", "losses")
"""The columns of the table of `compare` behind the measures."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of `compare`; `comparison[name]` is the Evaluation of one system, with its measures by query.

    `table` has one row per system, the best by `measure` first; `queries` is how many pictures queried, and `note` says
    if these are only a sample, or only the first answers were measured.
    """

    table: Table
    measure: str
    evaluations: dict[str, Evaluation]
    queries: int
    note: str = ""

    def __getitem__(self, name: str) -> Evaluation:
        if name not in self.evaluations:
            raise MissingKeyError(f"there is no system {name!r}: use one of {', '.join(self.evaluations)}")
        return self.evaluations[name]

    def __repr__(self) -> str:
        table = self.table.to_string(float_format="%.3f") if self.queries else repr(self.table)
        return "\n".join(filter(None, (table, self.note)))

    def _repr_html_(self) -> str:
        table = self.table.to_html(float_format="%.3f") if self.queries else self.table._repr_html_()
        return table + (self.note and f"<p>{self.note}</p>")


def compare(
    systems: Mapping[str | tuple[str, str], object],
    relevance: Relevance | None = None,
    *,
    baseline: str | None = None,
    measure: str = "mAP",
    queries: Sequence[str] | None = None,
    sample: int = 5000,
    progress: bool = True,
) -> Comparison:
    """Evaluate several systems on the same queries.

    In a large collection, a random sample of the pictures queries; if a system is an approximate index, the first ten
    answers of each are measured. The result says so.

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
    sample : int, default 5000
        The size of the sample. All query if they are no more than that, or if `queries` is given.
    progress : bool, default True

    Returns
    -------
    Comparison
        Its table has the columns system, width, the measures, low and high (the 95% bootstrap interval of
        `measure` by query), label_low and label_high (the same by label), and against the baseline difference, p
        (paired randomisation test by query), label_p (the same by label), holm (label_p corrected for the number of
        systems), wins and losses (numbers of queries). Without at least two labels, the columns by label are NaN, and
        holm corrects p. See `Evaluation.compare`.

    Examples
    --------
    >>> import amulsearch as am
    >>> vectors = {("net", "a"): [[1, 0], [1, 0], [0, 1], [0, 1]], ("net", "b"): [[1, 0], [0, 1], [1, 0], [0, 1]]}
    >>> features = {key: am.Features(rows, list("pqrs"), ["x", "x", "y", "y"]) for key, rows in vectors.items()}
    >>> am.compare(features, progress=False).table[["system", "mAP", "difference"]].round(2).values.tolist()
    [['net a', 1.0, nan], ['net b', 0.42, -0.58]]
    """
    if not isinstance(systems, Mapping) or not systems:
        raise QueryError("compare takes at least one system, by name, or by (model, layer) as extract returns them")
    named = {" ".join(key) if isinstance(key, tuple) else key: system for key, system in systems.items()}
    first = next(iter(named))
    baseline = first if baseline is None else baseline
    if baseline not in named:
        raise QueryError(f"the baseline {baseline!r} is not among the systems: use one of {', '.join(named)}")
    if relevance is None:
        if not isinstance(named[first], (Features, System)):
            raise QueryError("there is no relevance: give relevance=, or systems whose pictures have labels")
        relevance = Relevance.from_labels(named[first].ids, named[first].labels)
    notes, depth = [], None
    if queries is None:
        queries, notes = _sampled(relevance, check_integer("sample", sample))
    if any(isinstance(system, System) and system.approximate for system in named.values()):
        depth = ANSWERED
        notes.append(f"The first {depth} answers of each system were measured, as one of them is approximate.")
    column_of(measure)  # an unknown measure is told before anything is computed
    bar = tqdm(named.items(), desc="compare", unit="system", delay=1, disable=not progress or None)
    evaluations = {name: evaluate(system, relevance, queries=queries, depth=depth) for name, system in bar}
    labelled = evaluations[baseline].per_query["label"].nunique() > 1
    rows = []
    for name, system in named.items():
        width = system.vectors.shape[1] if isinstance(system, Features) else getattr(system, "width", None)
        measured = _measured(evaluations[name], evaluations[baseline], measure, labelled)
        rows.append({"system": name, "width": width, **measured})
    table = pd.DataFrame(rows, columns=["system", "width", *evaluations[baseline].mean().index, *COMPARED])
    table["holm"] = holm(table["label_p" if labelled else "p"])
    counts = ["width", "wins", "losses"]
    table[counts] = table[counts].astype("Int64")
    measure, count = "mAP" if measure == "AP" else measure, len(evaluations[baseline].per_query)
    table = table_of(table.sort_values(measure, ascending=False, ignore_index=True), count > 0)
    return Comparison(table, measure, evaluations, count, " ".join(notes))


def _measured(result: Evaluation, baseline: Evaluation, measure: str, labelled: bool) -> dict:
    """What the table of `compare` says about the results of a system."""
    row = {} if result is baseline else result.compare(baseline, measure)
    row |= result.mean().to_dict()
    row["low"], row["high"] = result.interval(measure)
    if labelled:
        row["label_low"], row["label_high"] = result.interval(measure, by="label")
    if labelled and result is not baseline:
        row["label_p"] = result.compare(baseline, measure, by="label")["p"]
    return row


def _sampled(relevance: Relevance, sample: int) -> tuple[list[str] | None, list[str]]:
    """The ids of a sample of the pictures that can query, and a sentence that says so; None and none if all query."""
    rows = relevance.queries
    if len(rows) <= sample:
        return None, []
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:sample])
    return [relevance.ids[row] for row in chosen], [f"A random sample of {sample:,} of {len(rows):,} pictures queried."]
