"""Re-ranking: indexes that use the first neighbours of a query to rank the whole collection.

Like every index, they answer queries by id and by new pictures. Their search is exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import QueryError, check_k
from ..features import Expansion, Features, compared
from .exact_index import ExactIndex

MOST = 20_000
"""The greatest collection for k-reciprocal re-ranking, which keeps tables of shape (N, N)."""


class _Reranked(ExactIndex):
    """Exact search with a re-ranked result; it is built from the features and cannot be saved."""

    def recall(self, *arguments, **options) -> float:
        """Raise QueryError: recall is not defined for a re-ranked result."""
        raise QueryError(f"recall is not defined for the re-ranked results of {type(self).__name__}: use evaluate")

    def save(self, path) -> Path:
        """Raise QueryError: the index cannot be saved."""
        raise QueryError(f"a {type(self).__name__} cannot be saved: build it again from the features of the store")


class QueryExpansion(_Reranked):
    """Alpha query expansion: the query is moved towards its nearest neighbours and searched again.

    The vectors of the collection do not change.

    References
    ----------
    Radenović, Tolias & Chum 2018, Fine-tuning CNN image retrieval with no human annotation.
    """

    @classmethod
    def build(cls, features: Features, k: int = 10, *, alpha: float = 3.0) -> QueryExpansion:
        """Build an index of Features, with the metric "angular".

        Parameters
        ----------
        features : Features
        k : int, default 10
            How many neighbours are added to the query.
        alpha : float, default 3.0
            Each neighbour is weighted by its cosine to the power alpha.

        Returns
        -------
        QueryExpansion

        Raises
        ------
        QueryError
            For invalid vectors, k over the number of other pictures, or a negative alpha.
        """
        index = cls(features, "angular")
        index._moved = Expansion.fit(index._vectors, k, alpha=alpha)
        return index

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """Compute the cosines (B, N) of the moved vectors of these rows (B,) with the collection."""
        return self._moved.move(self._vectors[rows], own=np.asarray(rows)) @ self._vectors.T

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, options: Mapping) -> tuple:
        return super()._find(self._moved.move(queries, own), k, own, options)


class KReciprocal(_Reranked):
    """k-reciprocal re-ranking: pictures that are neighbours of each other, and share neighbours, come first.

    References
    ----------
    Zhong, Zheng, Cao & Li 2017, Re-ranking person re-identification with k-reciprocal encoding.
    """

    @classmethod
    def build(cls, features: Features, k1: int = 20, k2: int = 6, *, weight: float = 0.3) -> KReciprocal:
        """Build an index of Features, with the metric "angular".

        The defaults are those of the paper, for collections of many thousand pictures.

        Parameters
        ----------
        features : Features
            Of at most 20,000 pictures.
        k1 : int, default 20
            How many neighbours can be reciprocal.
        k2 : int, default 6
            Over how many neighbours the encodings are averaged.
        weight : float, default 0.3
            The weight of the original distance in the final one, from 0 to 1; the rest is the Jaccard distance of the
            encodings.

        Returns
        -------
        KReciprocal

        Raises
        ------
        QueryError
            For invalid vectors or parameters, and for too many pictures.
        """
        index = cls(features, "angular")
        if len(index) > MOST:
            raise QueryError(
                f"k-reciprocal re-ranking takes at most {MOST:,} pictures, not {len(index):,}: use transforms.Expansion"
            )
        index.k1, index.k2 = check_k(k1, len(index) - 1), check_k(k2, k1, "of k1")
        if not 0 <= weight <= 1:
            raise QueryError(f"weight must be from 0 to 1, not {weight!r}")
        index.weight = weight
        distances = _squared(index._vectors, index._vectors)
        np.fill_diagonal(distances, -1)  # a picture is its own first neighbour
        index._order = np.argsort(distances, axis=1, kind="stable")[:, : index.k1 + 1]
        np.fill_diagonal(distances, 0)
        # The squared distance of the k-th neighbour of each row, for the two values of k in use.
        index._reach = {k: np.sort(distances, axis=1)[:, k] for k in (index.k1, max(1, round(index.k1 / 2)))}
        rows = range(len(index))
        single = np.stack([index._encoding(index._order[row], distances[row], row) for row in rows])
        index._codes = np.stack([single[index._order[row, : index.k2]].mean(axis=0) for row in rows])
        index._single = single
        return index

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """Compute the negative final distances (B, N) of these rows (B,) to all pictures."""
        return -np.stack([self._distances(self._vectors[row], int(row)) for row in rows])

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, options: Mapping) -> tuple:
        rows, distances = np.empty((len(queries), k), dtype=np.int64), np.empty((len(queries), k))
        for place, query in enumerate(compared(queries, self.metric)):
            row = None if own is None else int(own[place])
            far = self._distances(query, row)
            if row is not None:
                far[row] = np.inf
            rows[place] = np.argsort(far, kind="stable")[:k]
            distances[place] = np.maximum(far[rows[place]], 0)
        return rows, distances

    def _distances(self, query: np.ndarray, own: int | None) -> np.ndarray:
        """The final distance (N,) of a vector (D,) of length 1 to every picture; `own` is its row if it is of one."""
        squared = _squared(query[None], self._vectors)[0]
        if own is None:
            order = np.argsort(squared, kind="stable")[: self.k1]
            alone = self._encoding(order, squared, None)
            code = np.concatenate([alone[None], self._single[order[: self.k2 - 1]]]).mean(axis=0)
        else:
            code = self._codes[own]
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
        """Those of the first neighbours that have this picture among their own k nearest."""
        return order[squared[order] <= self._reach[k][order] + 1e-6]


def _squared(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances (A, B) of unit vectors."""
    return np.maximum(2 - 2 * (a @ b.T), 0)
