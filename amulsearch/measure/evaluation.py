"""Evaluation: every picture queries a system, and what it answers is measured against relevance, query by query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError, check_integer
from ..features import Features, l2_normalize
from ..index import System
from ..store import blocks
from ..systems import Fusion, Relevance
from .ranking_measures import MEASURES, rank_measures

ANSWERED = 10
"""How many neighbours of an approximate index are measured: as many as it answers by default."""
BLOCK, MEMORY, PER_PAIR = 256, 300 << 20, 140
"""How many queries are measured at once at most, the bytes that their temporary arrays may take together, and the bytes
that they take for each pair of a query and a picture."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measures of one system, as `evaluate` returns them.

    Attributes
    ----------
    per_query : DataFrame
        One row for each query that has relevant pictures: id, label, and `MEASURES`, each from 0 to 1.
    excluded : int
        How many queries were left out because no picture is relevant to them.
    """

    per_query: pd.DataFrame
    excluded: int
    depth: int | None = None
    """How many answers to each query were measured; None for the whole ranking."""

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {value:.3f}" for name, value in self.mean().items())
        first = "" if self.depth is None else f", the first {self.depth} answers"
        return f"Evaluation({len(self.per_query):,} queries, {self.excluded:,} left out{first}: {means})"

    def mean(self) -> pd.Series:
        """Return the mean of each measure over the queries, by name; that of AP is called mAP."""
        return self.per_query[list(MEASURES)].mean().rename({"AP": "mAP"})

    def interval(self, measure: str = "AP", *, by: str = "query") -> tuple[float, float]:
        """Compute the 95% bootstrap confidence interval of the mean of a measure over the queries.

        Parameters
        ----------
        measure : str, default "AP"
            One of `MEASURES`, or "mAP".
        by : {"query", "label"}
            What is drawn at random: single queries, as if their results were independent, or labels with all their
            queries (Field & Welsh 2007, Bootstrapping clustered data). Queries of one label share the pictures that are
            relevant to them, so the interval by label, wider as a rule, is the one that holds for other labels.
        """
        return _interval(self._values(measure), self._groups(by))

    def by_label(self, measure: str = "AP") -> pd.Series:
        """Compute the mean of a measure, one of `MEASURES`, for each label, best first."""
        values = pd.Series(self._values(measure), name=measure)
        return values.groupby(self.per_query["label"]).mean().sort_values(ascending=False)

    def compare(self, other: Evaluation, measure: str = "AP", *, by: str = "query") -> dict:
        """Compare this system with another on the same queries.

        Parameters
        ----------
        other : Evaluation
        measure : str, default "AP"
            One of `MEASURES`, or "mAP".
        by : {"query", "label"}
            What is drawn, and changes its sign, as a whole; see `interval`.

        Returns
        -------
        dict
            difference (the mean of this system minus that of the other), low and high (its 95% bootstrap interval),
            p (two-sided, paired randomisation test: Smucker, Allan & Carterette 2007), and wins, losses and ties
            (numbers of queries). Without queries, NaN and 0.
        """
        if self.per_query.empty and other.per_query.empty:
            return dict.fromkeys(("difference", "low", "high", "p"), np.nan) | {"wins": 0, "losses": 0, "ties": 0}
        if self.per_query["id"].tolist() != other.per_query["id"].tolist():
            raise QueryError("the two systems were evaluated on different queries: evaluate both on the same")
        if self.depth != other.depth:
            least, cut = min(filter(None, (self.depth, other.depth))), measure.partition("@")[2]
            if not (cut.isdigit() and int(cut) <= least):
                again = f"evaluate both systems with depth={least}"
                raise QueryError(f"{measure} depends on how many answers are measured: {again}")
        change, groups = self._values(measure) - other._values(measure), self._groups(by)
        low, high = _interval(change, groups)
        return {
            "difference": float(change.mean()),
            "low": low,
            "high": high,
            "p": _randomisation_p(np.bincount(groups, change)),
            "wins": int((change > 0).sum()),
            "losses": int((change < 0).sum()),
            "ties": int((change == 0).sum()),
        }

    def _groups(self, by: str) -> np.ndarray:
        """The group (Q,) of each query, from 0: itself, or its label."""
        if by not in ("query", "label"):
            raise QueryError(f"by must be query or label, not {by!r}")
        if by == "query":
            return np.arange(len(self.per_query))
        groups, labels = pd.factorize(self.per_query["label"], use_na_sentinel=False)
        if len(labels) < 2:
            raise QueryError("the queries have fewer than two labels to draw from: use by='query'")
        return groups

    def _values(self, measure: str) -> np.ndarray:
        return self.per_query[column_of(measure)].to_numpy(dtype=np.float64)


def column_of(measure: str) -> str:
    """The column of `Evaluation.per_query` with a measure, one of MEASURES or "mAP"; QueryError for another."""
    if measure not in (*MEASURES, "mAP"):
        raise QueryError(f"unknown measure {measure!r}: use one of {', '.join(MEASURES)}, mAP")
    return "AP" if measure == "mAP" else measure


def evaluate(
    system: Features | System | np.ndarray | Callable[[np.ndarray], np.ndarray],
    relevance: Relevance,
    *,
    queries: Sequence[str] | None = None,
    depth: int | None = None,
) -> Evaluation:
    """Query a system with every picture, and measure what it answers.

    Parameters
    ----------
    system : Features, System, ndarray of shape (N, N) or function
        Features are compared by cosine. An array holds similarities, with rows and columns in the order of
        `relevance.ids`, -inf for what is not answered; a function maps rows (B,) to similarities (B, N).
    relevance : Relevance
        Of the same N pictures in the same order.
    queries : sequence of str, optional
        The ids to query with, by default all.
    depth : int, optional
        How many answers to each query are measured: by default all, of an approximate index 10. To compare the mAP of
        an approximate index with that of another system, give the depth of both.

    Notes
    -----
    P@k: the relevant pictures among the first k answers, divided by k, also if there are fewer than k. R-precision and
    MAP@R: precision and average precision at R, the number of relevant pictures (Musgrave, Belongie & Lim 2020). AP:
    average precision; relevant pictures that are not answered count as never found, so it is lower at a small depth.
    nDCG@10: the gains are the grades; the ideal ranking is over the whole collection. Queries without relevant
    pictures are left out and counted (Radenović, Tolias & Chum 2018). Ties count as the mean over their orders.

    Pictures that are not judged for a query, such as those without a label, are neither right nor wrong: they are
    removed, and those behind them move up (Sakai 2007, Alternatives to bpref).

    Examples
    --------
    >>> import amulsearch as am
    >>> features = am.Features([[1, 0], [1, 1], [1, 3], [0, 1]], list("abcd"), ["x", "x", "y", "y"])
    >>> result = am.evaluate(features, am.Relevance.from_labels(features.ids, features.labels))
    >>> result.mean().round(2).to_dict()
    {'P@1': 0.75, 'P@5': 0.2, 'R-precision': 0.75, 'MAP@R': 0.75, 'mAP': 0.85, 'nDCG@10': 0.89}
    """
    if not isinstance(relevance, Relevance):
        kind = type(relevance).__name__
        raise QueryError(f"evaluate needs a Relevance, not {kind}: make one with Relevance.from_labels(ids, labels)")
    depth = depth if depth is None else check_integer("depth", depth)
    if isinstance(system, System) and system.approximate:
        depth = depth or ANSWERED
    similarities, count = _similarities(system, relevance, depth), len(relevance.ids)
    rows = _rows(relevance, queries)
    measures, queried = [np.empty((0, len(MEASURES)))], [np.empty(0, dtype=np.int64)]
    step = max(1, min(BLOCK, MEMORY // (PER_PAIR * max(count, 1))))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        grades = relevance.grades(block).copy()
        grades[np.arange(len(block)), block] = 0
        some = (grades > 0).any(axis=1)
        if some.any():
            measures.append(rank_measures(similarities(block[some]), grades[some], block[some], depth))
            queried.append(block[some])
    queried = np.concatenate(queried)
    table = pd.DataFrame(np.concatenate(measures), columns=list(MEASURES))
    table.insert(0, "id", pd.Series([relevance.ids[row] for row in queried], dtype=object))
    table.insert(1, "label", pd.Series([relevance.labels[row] for row in queried], dtype=object))
    return Evaluation(table, (count if queries is None else len(rows)) - len(queried), depth)


def _rows(relevance: Relevance, queries: Sequence[str] | None) -> np.ndarray:
    """The rows (Q,) of the pictures to query with: by default, all that can have a relevant one."""
    if queries is None:
        return relevance.queries
    rows = pd.Index(relevance.ids).get_indexer(list(queries))
    if (rows < 0).any():
        unknown = list(queries)[rows.argmin()]
        raise QueryError(f"there is no picture {unknown!r} to query with: give ids of the relevance")
    return rows


def cosines(vectors: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from rows (B,) to the cosines (B, N) float32 of these vectors with all vectors (N, D), which it reads
    in blocks and does not copy."""
    lengths = [np.linalg.norm(block, axis=1) for _, block in blocks(vectors)]
    lengths = np.maximum(np.concatenate(lengths), 1e-12)

    def similar(rows: np.ndarray) -> np.ndarray:
        queries, values = l2_normalize(vectors[rows]), np.empty((len(rows), len(lengths)), dtype=np.float32)
        for start, block in blocks(vectors):
            np.matmul(queries, block.T, out=values[:, start : start + len(block)])
        values /= lengths
        return values

    return similar


def _similarities(system, relevance: Relevance, depth: int | None) -> Callable[[np.ndarray], np.ndarray]:
    if isinstance(system, np.ndarray):
        if system.shape != (len(relevance.ids),) * 2:
            count = len(relevance.ids)
            raise QueryError(f"similarities of shape {system.shape} do not fit {count} pictures: give a square array")
        return system.__getitem__
    if isinstance(system, (Features, System)) and system.ids != relevance.ids:
        raise QueryError("system and relevance do not hold the same pictures in the same order: use the ids of both")
    if isinstance(system, Features):
        return cosines(system.vectors)
    if isinstance(system, Fusion) and system.depth < len(system):
        system = Fusion(system.systems, system.method, depth=min(relevance.reach(system.depth), len(system)))
    if isinstance(system, System):
        answers = min(relevance.reach(depth), len(system) - 1) if system.approximate else None
        return lambda rows: system.similarities(rows, answers)
    if callable(system):
        return system
    kind = type(system).__name__
    raise QueryError(f"a system must be Features, an index, an array of similarities or a function, not {kind}")


def _interval(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean of the values (Q,), drawn by their groups (Q,); NaN without values."""
    if not len(values):
        return np.nan, np.nan
    rng = np.random.default_rng(0)
    sums, counts = np.bincount(groups, values), np.bincount(groups)
    means = []
    for _ in range(1000):
        drawn = rng.integers(0, len(sums), len(sums))
        means.append(sums[drawn].sum() / counts[drawn].sum())
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _randomisation_p(sums: np.ndarray) -> float:
    """How often the total of the sums (G,) of groups is as extreme if their signs are random."""
    rng, extreme, samples = np.random.default_rng(0), 0, 10_000
    for _ in range(0, samples, 500):
        signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (500, len(sums)))
        extreme += int((np.abs(signs @ sums) >= abs(sums.sum()) - 1e-9).sum())
    return (extreme + 1) / (samples + 1)


def holm(p: np.ndarray) -> np.ndarray:
    """The p-values (T,) of several tests, corrected so that any false finding among all stays improbable (Holm 1979, A
    simple sequentially rejective multiple test procedure); NaN stays."""
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN comes last
    corrected = np.full(len(p), np.nan)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return corrected
