"""Indexes that look twice: the first neighbours of a query decide how the collection is ranked.

Both answer for pictures of the collection and for new ones, as every index, and are compared exactly.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import QueryError, check_k
from ..features import Expansion, Features
from .exact_index import ExactIndex

MOST = 20_000
"""k-reciprocal re-ranking keeps a table of every picture against every other."""


class _Reranked(ExactIndex):
    """Exact search with an order of its own, made from the features each time."""

    def recall(self, *arguments, **options) -> float:
        raise QueryError(f"{type(self).__name__} has an order of its own: its recall says nothing, use evaluate")

    def save(self, path) -> Path:
        raise QueryError(f"{type(self).__name__} is not kept on disk: build it from the features, which a store keeps")


class QueryExpansion(_Reranked):
    """The query is moved towards its nearest neighbours, and asks again; the collection stays as it is.

    Alpha query expansion: Radenovic, Tolias & Chum 2018, "Fine-tuning CNN image retrieval with no human annotation".
    """

    @classmethod
    def build(cls, features: Features, k: int = 10, *, alpha: float = 3.0) -> QueryExpansion:
        """k: how many neighbours are added to the query; alpha: each weighs its cosine to the power alpha."""
        index = cls(features, "angular")
        index._moved = Expansion.fit(index._vectors, k, alpha=alpha)
        return index

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """Cosines (B, N) of the moved vectors of these rows with the collection, for `evaluate`."""
        return self._moved_collection[rows] @ self._vectors.T

    @cached_property
    def _moved_collection(self) -> np.ndarray:
        """The vectors of the collection as queries, each moved towards its neighbours but not to itself."""
        return self._moved._apply(self._vectors, own=True)

    def _nearest(self, query: int | np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(query, np.ndarray):
            likeness = (self._moved(query[None]) @ self._vectors.T)[0]
        else:
            likeness = self.similarities(np.array([query]))[0]
            likeness[query] = np.inf  # a picture is its own nearest
        return _least(np.sqrt(np.maximum(2 - 2 * np.minimum(likeness, 1), 0)), n)


class KReciprocal(_Reranked):
    """Pictures that are neighbours of each other, and share their neighbours, come first.

    Zhong, Zheng, Cao & Li 2017, "Re-ranking person re-identification with k-reciprocal encoding".
    """

    @classmethod
    def build(cls, features: Features, k1: int = 20, k2: int = 6, *, weight: float = 0.3) -> KReciprocal:
        """k1: how many neighbours can be reciprocal; k2: over how many the encodings are averaged; weight: the part of
        the original distance in the final one, from 0 to 1, beside the Jaccard distance of the encodings.

        The paper's k1 = 20, k2 = 6 and weight = .3 are for collections of many thousand pictures.
        """
        index = cls(features, "angular")
        if len(index) > MOST:
            raise QueryError(f"k-reciprocal re-ranking takes at most {MOST:,} pictures: use transforms.Expansion")
        index.k1, index.k2 = check_k(k1, len(index) - 1), check_k(k2, k1, "of k1")
        if not 0 <= weight <= 1:
            raise QueryError(f"weight is from 0 to 1, not {weight!r}")
        index.weight = weight
        distances = _squared(index._vectors, index._vectors)
        np.fill_diagonal(distances, -1)  # a picture is its own first neighbour
        index._order = np.argsort(distances, axis=1, kind="stable")[:, : index.k1 + 1]
        np.fill_diagonal(distances, 0)
        # How near a picture must be to stand among the k nearest of each row, for the two k that are asked.
        index._reach = {k: np.sort(distances, axis=1)[:, k] for k in (index.k1, max(1, round(index.k1 / 2)))}
        rows = range(len(index))
        single = np.stack([index._encoding(index._order[row], distances[row], row) for row in rows])
        index._codes = np.stack([single[index._order[row, : index.k2]].mean(axis=0) for row in rows])
        index._single = single
        return index

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """The final distances (B, N) of these rows, negative, for `evaluate`."""
        return -np.stack([self._distances(int(row)) for row in rows])

    def _nearest(self, query: int | np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        distances = self._distances(query)
        if not isinstance(query, np.ndarray):
            distances[query] = -1  # a picture is its own nearest
        near, far = _least(distances, n)
        return near, np.maximum(far, 0)

    def _distances(self, query: int | np.ndarray) -> np.ndarray:
        """The final distance (N,) of a row, or of a vector (D,), to every picture."""
        if isinstance(query, np.ndarray):
            query = query / np.linalg.norm(query)
            squared = _squared(query[None], self._vectors)[0]
            order = np.argsort(squared, kind="stable")[: self.k1]
            own = self._encoding(order, squared, None)
            code = np.concatenate([own[None], self._single[order[: self.k2 - 1]]]).mean(axis=0)
        else:
            squared = _squared(self._vectors[query][None], self._vectors)[0]
            code = self._codes[query]
        places = np.flatnonzero(code)
        shared = np.minimum(self._codes[:, places], code[places]).sum(axis=1)
        jaccard = 1 - shared / (code.sum() + self._codes.sum(axis=1) - shared)
        return (1 - self.weight) * jaccard + self.weight * squared / max(squared.max(), 1e-12)

    def _encoding(self, order: np.ndarray, squared: np.ndarray, own: int | None) -> np.ndarray:
        """The k-reciprocal neighbours of a picture as weights (N,) that sum to 1, 0 for all others."""
        chosen = set(self._reciprocal(order, squared, self.k1).tolist())
        half = max(1, round(self.k1 / 2))
        for row in list(chosen):
            others = self._order[row, : half + 1]
            to_row = _squared(self._vectors[row][None], self._vectors[others])[0]
            theirs = others[to_row <= self._reach[half][others] + 1e-6]
            if len(chosen.intersection(theirs.tolist())) >= 2 / 3 * len(theirs):
                chosen.update(theirs.tolist())
        if own is not None:
            chosen.add(own)
        code = np.zeros(len(self), dtype=np.float32)
        rows = np.array(sorted(chosen), dtype=np.int64)
        if len(rows):
            weights = np.exp(-squared[rows])
            code[rows] = weights / weights.sum()
        return code

    def _reciprocal(self, order: np.ndarray, squared: np.ndarray, k: int) -> np.ndarray:
        """Which of the first neighbours would have this picture among their own k nearest."""
        return order[squared[order] <= self._reach[k][order] + 1e-6]


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (A, B) of unit vectors."""
    return np.maximum(2 - 2 * (a @ b.T), 0)


def _least(distances: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    near = np.argsort(distances, kind="stable")[:n]
    return near, distances[near].astype(np.float64)
