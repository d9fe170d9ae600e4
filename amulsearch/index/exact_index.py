"""Exact search: the reference for the recall of approximate indexes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import check_k
from ..features import Features, l2_normalize
from .base import Index, as_features


class ExactIndex(Index):
    """Exact search: every vector is compared with the query (numpy).

    It is slower than an approximate index on large collections, and misses nothing. The vectors of an index opened
    from disk stay on disk, as a memory map.

    See Also
    --------
    AnnoyIndex : Faster on large collections, and approximate.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> vectors = np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    >>> index = am.ExactIndex.build(vectors, ["a", "b", "c"])
    >>> table = index.query("a", k=2)
    >>> table["id"].tolist(), table["distance"].round(3).tolist()
    (['b', 'c'], [0.632, 1.414])
    >>> rows, distances = index.all_neighbours(k=1)
    >>> rows.tolist()
    [[1], [0], [1]]
    """

    ending = ".npy"

    @classmethod
    def build(
        cls, features: Features | np.ndarray, ids: Sequence[str] | None = None, *, metric: str = "angular"
    ) -> ExactIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean", "manhattan"}, default "angular"

        Returns
        -------
        ExactIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters.
        """
        return cls(as_features(features, ids), metric)

    def __init__(self, features: Features, metric: str):
        super().__init__(features, metric)
        self._vectors = (
            l2_normalize(features.vectors, norm_dtype=np.float64) if metric == "angular" else features.vectors
        )

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared lengths (N,) of the vectors."""
        return np.einsum("nd,nd->n", self._vectors, self._vectors)

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self._vectors[rows])

    def _nearest(self, query: int | np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(query, np.ndarray):
            query = self._vectors[query]
        elif self.metric == "angular":
            query = l2_normalize(query[None], norm_dtype=np.float64)[0]
        if self.metric == "manhattan":
            distances = np.abs(self._vectors - query).sum(axis=1, dtype=np.float64)
            near = np.argsort(distances, kind="stable")[:n]
            return near, distances[near]
        # |a - b|^2 = |a|^2 - 2ab + |b|^2 in float32 finds the candidates; their distances are then computed in float64
        squares = self._squares - 2 * (self._vectors @ query)
        near = np.sort(np.argpartition(squares, min(n + 16, len(squares)) - 1)[: n + 16])
        differences = self._vectors[near].astype(np.float64) - query
        distances = np.sqrt(np.einsum("nd,nd->n", differences, differences))
        order = np.argsort(distances, kind="stable")[:n]
        return near[order], distances[order]

    def all_neighbours(self, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest other pictures of every picture at once.

        Parameters
        ----------
        k : int, default 10

        Returns
        -------
        rows : ndarray of shape (N, k), int64
            `rows[i, j]` is the position in `ids` of the neighbour of rank j + 1 of `ids[i]`, as in `query(ids[i], k)`.
        distances : ndarray of shape (N, k), float64

        Raises
        ------
        QueryError
            If k is over the number of other pictures.
        """
        k = check_k(k, len(self) - 1, "other pictures")
        rows, distances = np.empty((len(self), k), dtype=np.int64), np.empty((len(self), k))
        vectors = self._vectors.astype(np.float64)
        squares = np.einsum("nd,nd->n", vectors, vectors)
        scale = squares.max() or 1.0
        for start in range(0, len(self), 256):
            own = np.arange(start, min(start + 256, len(self)))
            if self.metric == "manhattan":
                far = np.array([np.abs(self._vectors - self._vectors[row]).sum(1, dtype=np.float64) for row in own])
            else:
                far = np.maximum(squares[own, None] - 2 * (vectors[own] @ vectors.T) + squares, 0)  # (B, N)
                far = np.sqrt((far / scale).round(13) * scale)  # equal pictures at equal distances, ordered by row
            far[np.arange(len(own)), own] = np.inf
            near = np.sort(np.argpartition(far, min(k + 15, len(self) - 2), axis=1)[:, : k + 16], axis=1)
            order = np.argsort(np.take_along_axis(far, near, axis=1), axis=1, kind="stable")[:, :k]
            rows[own] = np.take_along_axis(near, order, axis=1)
            distances[own] = np.take_along_axis(far, rows[own], axis=1)
        return rows, distances

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """Compute the similarities of some pictures to all pictures, as `evaluate` uses them.

        Parameters
        ----------
        rows : ndarray of shape (B,), int

        Returns
        -------
        ndarray of shape (B, N)
            Cosines (float32) if the metric is angular, else negative distances (float64).
        """
        if self.metric == "angular":
            return self._vectors[rows] @ self._vectors.T
        return super().similarities(rows)

    def _write(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._vectors)

    def _read(self, path: Path) -> tuple[int, int]:
        self._vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        if self._vectors.dtype != np.float32:
            raise ValueError(f"it holds {self._vectors.dtype}")
        return self._vectors.shape
