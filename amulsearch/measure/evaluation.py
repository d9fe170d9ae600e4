"""Which result is better, by a number: measures of a ranking against relevance, kept for each query.

Every picture asks for all others. Pictures at equal similarity could stand in any order, so each measure is its mean
over all orders of the ties (McSherry & Najork 2008, "Computing information retrieval performance measures efficiently
in the presence of tied scores"), never that of a lucky order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ..errors import QueryError
from ..features import Features, l2_normalize
from ..index import Index
from .relevance import Relevance

MEASURES = ("P@1", "P@5", "R-precision", "MAP@R", "AP", "nDCG@10")
BLOCK = 256


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The measures of one system.

    per_query: a row for each query with something relevant: id, label, and MEASURES, each from 0 to 1.
    excluded: how many pictures have nothing relevant to them and were not asked.
    """

    per_query: pd.DataFrame
    excluded: int

    def mean(self) -> pd.Series:
        """The mean over the queries of each measure; that of AP is called mAP."""
        return self.per_query[list(MEASURES)].mean().rename({"AP": "mAP"})

    def interval(self, measure: str = "AP", *, level: float = 0.95, samples: int = 1000, seed: int = 0):
        """Bootstrap interval (low, high) of a measure's mean, over the queries."""
        return _interval(self._values(measure), level, samples, seed)

    def by_label(self, measure: str = "AP") -> pd.Series:
        """The mean of a measure for each label, best first."""
        return self.per_query.groupby("label")[measure].mean().sort_values(ascending=False)

    def compare(self, other: Evaluation, measure: str = "AP", *, samples: int = 10_000, seed: int = 0) -> dict:
        """How this system differs from another on the same queries.

        Returns difference (this minus other, of the means), low and high (its 95% bootstrap interval), p (two-sided,
        paired randomisation test, Smucker, Allan & Carterette 2007), and wins, losses and ties by query.
        """
        if self.per_query["id"].tolist() != other.per_query["id"].tolist():
            raise QueryError("the two systems were not asked the same queries: evaluate both with the same relevance")
        change = self._values(measure) - other._values(measure)
        rng = np.random.default_rng(seed)
        extreme = 0
        for start in range(0, samples, 500):
            signs = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), (min(500, samples - start), len(change)))
            extreme += int((np.abs(signs @ change) >= abs(change.sum()) - 1e-9).sum())
        low, high = _interval(change, 0.95, 1000, seed)
        return {
            "difference": float(change.mean()),
            "low": low,
            "high": high,
            "p": (extreme + 1) / (samples + 1),
            "wins": int((change > 0).sum()),
            "losses": int((change < 0).sum()),
            "ties": int((change == 0).sum()),
        }

    def _values(self, measure: str) -> np.ndarray:
        measure = "AP" if measure == "mAP" else measure
        if measure not in MEASURES:
            raise QueryError(f"unknown measure {measure!r}: use one of {', '.join(MEASURES)}")
        return self.per_query[measure].to_numpy(dtype=np.float64)


def evaluate(
    system: Features | Index | np.ndarray | Callable[[np.ndarray], np.ndarray],
    relevance: Relevance,
    *,
    queries: Sequence[str] | None = None,
) -> Evaluation:
    """Let every picture (or `queries`, ids) ask for all others, and measure each ranking.

    system: Features (compared by cosine), a matrix (N, N) of similarities, row for row as `relevance.ids`, or a
        function from rows (B,) to their similarities (B, N).

    P@k: relevant among the first k. R-precision and MAP@R: precision and average precision cut at the number R of
    relevant pictures (Musgrave, Belongie & Lim 2020). AP: average precision of the whole ranking; queries without
    anything relevant are left out and counted (Radenovic et al. 2018). nDCG@10: gains are the grades, the ideal is
    taken over the whole collection.
    """
    similar = _similarities(system, relevance)
    rows = np.arange(len(relevance.ids))
    if queries is not None:
        place = {id: row for row, id in enumerate(relevance.ids)}
        unknown = [id for id in queries if id not in place]
        if unknown:
            raise QueryError(f"no picture {unknown[0]!r} to ask with")
        rows = np.array([place[id] for id in queries], dtype=np.int64)
    parts, asked = [], []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        grades = relevance.grades(block).copy()
        grades[np.arange(len(block)), block] = 0
        some = (grades > 0).any(axis=1)
        if some.any():
            parts.append(_measure(similar(block[some]), grades[some], block[some]))
            asked.append(block[some])
    if not parts:
        raise QueryError("no picture has another that is relevant to it: nothing can be measured")
    asked = np.concatenate(asked)
    table = pd.DataFrame(np.concatenate(parts), columns=list(MEASURES))
    table.insert(0, "id", pd.Series([relevance.ids[row] for row in asked], dtype=object))
    table.insert(1, "label", pd.Series([relevance.labels[row] for row in asked], dtype=object))
    return Evaluation(table, len(rows) - len(asked))


def cosine(vectors: np.ndarray) -> np.ndarray:
    """Cosine similarities (N, N) float32 of vectors (N, D)."""
    vectors = l2_normalize(vectors)
    return vectors @ vectors.T


def _similarities(system, relevance: Relevance) -> Callable[[np.ndarray], np.ndarray]:
    if isinstance(system, Features):
        if system.ids != relevance.ids:
            raise QueryError("the features and the relevance are not of the same pictures in the same order")
        vectors = l2_normalize(system.vectors)
        return lambda rows: vectors[rows] @ vectors.T
    if isinstance(system, Index):
        if system.ids != relevance.ids:
            raise QueryError("the index and the relevance are not of the same pictures in the same order")
        return system.similarities
    if isinstance(system, np.ndarray):
        if system.shape != (len(relevance.ids),) * 2:
            raise QueryError(f"similarities of shape {system.shape} do not fit {len(relevance.ids)} pictures")
        return lambda rows: system[rows]
    if callable(system):
        return system
    raise QueryError(f"a system is Features, an index, a matrix of similarities or a function, not a {type(system).__name__}")


def _measure(similarity: np.ndarray, grades: np.ndarray, own: np.ndarray) -> np.ndarray:
    """MEASURES of a block of queries, (B, len(MEASURES)), from similarities and grades (B, N); `own` are their rows."""
    queries, count = grades.shape
    similarity = np.array(similarity, dtype=np.float32)
    if np.isnan(similarity).any():
        raise QueryError("the similarities hold NaN")
    similarity[np.arange(queries), own] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : count - 1]  # the query itself is last, and cut off
    scores = np.take_along_axis(similarity, order, axis=1)
    gains = np.take_along_axis(grades, order, axis=1).astype(np.float64)
    relevant = (gains > 0).astype(np.float64)
    ties = _Ties(scores)
    total = relevant.sum(axis=1)  # (B,)
    expected = ties.mean(relevant)  # chance that a place holds a relevant picture
    position = np.arange(1, count)
    precision = _precision_where_relevant(ties, relevant, position)
    within = position <= total[:, None]
    discount = 1 / np.log2(position + 1)
    ideal = -np.sort(-gains, axis=1)
    top = min(10, count - 1)
    return np.stack(
        [
            expected[:, 0],
            expected[:, :5].sum(axis=1) / 5,
            (expected * within).sum(axis=1) / total,
            (expected * precision * within).sum(axis=1) / total,
            (expected * precision).sum(axis=1) / total,
            (ties.mean(gains) * discount)[:, :top].sum(axis=1) / (ideal * discount)[:, :top].sum(axis=1),
        ],
        axis=1,
    )


class _Ties:
    """Runs of equal scores in rankings (B, M): for each place where its run starts, and how long it is."""

    def __init__(self, scores: np.ndarray):
        places = np.arange(scores.shape[1])
        first = np.ones(scores.shape, dtype=bool)
        first[:, 1:] = scores[:, 1:] != scores[:, :-1]
        last = np.ones(scores.shape, dtype=bool)
        last[:, :-1] = first[:, 1:]
        self.start = np.maximum.accumulate(np.where(first, places, 0), axis=1)
        end = np.where(last, places, scores.shape[1])[:, ::-1]
        self.end = np.minimum.accumulate(end, axis=1)[:, ::-1]
        self.size = self.end - self.start + 1

    def sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over the run that each place belongs to."""
        return self.before(values, self.end + 1) - self.before(values, self.start)

    def mean(self, values: np.ndarray) -> np.ndarray:
        return self.sum(values) / self.size

    @staticmethod
    def before(values: np.ndarray, place: np.ndarray) -> np.ndarray:
        """The sum of all values at smaller places than `place`."""
        summed = np.concatenate([np.zeros((len(values), 1)), values.cumsum(axis=1)], axis=1)
        return np.take_along_axis(summed, place, axis=1)


def _precision_where_relevant(ties: _Ties, relevant: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The mean precision at each place over the orders of the ties in which a relevant picture stands there."""
    in_run = ties.sum(relevant)
    above = ties.before(relevant, ties.start)
    steps = position - 1 - ties.start  # places of the run above this one
    others = np.where(ties.size > 1, (in_run - 1) / np.maximum(ties.size - 1, 1), 0)
    return (above + 1 + steps * np.maximum(others, 0)) / position


def _interval(values: np.ndarray, level: float, samples: int, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    means = [values[rng.integers(0, len(values), len(values))].mean() for _ in range(samples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
