"""Measures of whole rankings against grades of relevance.

The order of pictures with equal similarity is arbitrary, so each measure is its mean over all orders of the ties
(McSherry & Najork 2008, Computing information retrieval performance measures efficiently in the presence of tied
scores). What a system does not answer counts as not found, as in trec_eval; what nobody judged is taken out of the
ranking.
"""

import numpy as np

from ..errors import QueryError

MEASURES = ("P@1", "P@5", "R-precision", "MAP@R", "AP", "nDCG@10")
"""The measures of each query, from 0 to 1, see `evaluate`; the mean of AP is called mAP."""


def rank_measures(similarity: np.ndarray, grades: np.ndarray, own: np.ndarray, depth: int | None) -> np.ndarray:
    """MEASURES (B, 6) of a block of queries, from similarities and grades (B, N); `own` are their rows (B,)."""
    queries, count = grades.shape
    similarity = np.array(similarity, dtype=np.float32)
    if np.isnan(similarity).any():
        raise QueryError("the similarities contain NaN: give finite numbers")
    removed = np.isnan(grades)
    removed[np.arange(queries), own] = True
    grades[removed] = 0
    answered = similarity > -np.inf
    np.maximum(similarity, np.finfo(np.float32).min, out=similarity)  # so that only what is removed is at -inf
    similarity[removed] = -np.inf
    order = np.argsort(-similarity, axis=1, kind="stable")[:, : count - 1]  # what is removed comes last
    gains = np.take_along_axis(grades, order, axis=1).astype(np.float64)
    ideal = -np.sort(-gains)
    total = (gains > 0).sum(axis=1)  # (B,)
    gains[~np.take_along_axis(answered, order, axis=1)] = 0
    ties = _Ties(np.take_along_axis(similarity, order, axis=1))
    hits, precision = ties.hits((gains > 0).astype(np.float64))
    position = np.arange(1, count)
    reached = position <= (count if depth is None else depth)
    hits = hits * reached
    within = position <= total[:, None]
    top = slice(min(10, count - 1))
    discount = 1 / np.log2(position[top] + 1)
    return np.stack(
        [
            hits[:, 0],
            hits[:, :5].sum(axis=1) / 5,
            (hits * within).sum(axis=1) / total,
            (hits * precision * within).sum(axis=1) / total,
            (hits * precision).sum(axis=1) / total,
            ((ties.mean(gains) * reached)[:, top] * discount).sum(axis=1) / (ideal[:, top] * discount).sum(axis=1),
        ],
        axis=1,
    )


class _Ties:
    """Runs of equal scores (B, M), sorted by row: each measure is its mean over all orders of the pictures in a run."""

    def __init__(self, scores: np.ndarray):
        places = np.arange(scores.shape[1])
        first = np.ones(scores.shape, dtype=bool)
        first[:, 1:] = scores[:, 1:] != scores[:, :-1]
        self.start = np.maximum.accumulate(np.where(first, places, 0), axis=1)
        self.run = first.cumsum().reshape(scores.shape) - 1  # numbered through all rows
        self.size = np.bincount(self.run.ravel())[self.run]

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over the run of each position."""
        return self._sum(values) / self.size

    def _sum(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.run.ravel(), values.ravel())[self.run]

    def hits(self, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability that a relevant picture stands at each position, and the mean precision there if one does."""
        inside = self._sum(relevant)
        above = np.take_along_axis(relevant.cumsum(axis=1) - relevant, self.start, axis=1)
        position = np.arange(relevant.shape[1])
        others = np.maximum(inside - 1, 0) / np.maximum(self.size - 1, 1)
        return inside / self.size, (above + 1 + (position - self.start) * others) / (position + 1)
