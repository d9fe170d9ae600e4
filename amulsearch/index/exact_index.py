"""Exact search: the reference for the recall of approximate indexes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..features import Features, metric_vectors, nearest
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
        self._vectors = metric_vectors(features.vectors, metric)

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared lengths (N,) of the vectors."""
        return np.einsum("nd,nd->n", self._vectors, self._vectors)

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self._vectors[rows])

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, options: Mapping) -> tuple:
        queries = metric_vectors(queries, self.metric)
        straight = "euclidean" if self.metric == "angular" else self.metric  # the vectors are scaled already
        return nearest(self._vectors, queries, k, straight, own, squares=self._squares)

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
