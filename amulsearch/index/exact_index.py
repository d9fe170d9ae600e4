"""Exact search: the reference that says how good an approximate answer is."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import check_k
from ..features import Features, l2_normalize
from .base import Index, as_features


class ExactIndex(Index):
    """Every vector compared with the query (numpy): slower on large collections, and never wrong.

    Opened from disk, the vectors stay there (memory map).
    """

    ending = ".npy"

    @classmethod
    def build(cls, features: Features | np.ndarray, ids: Sequence[str] | None = None, *, metric: str = "angular"):
        """An index of Features, or of any (N, D) array and its ids."""
        return cls(as_features(features, ids), metric)

    def __init__(self, features: Features, metric: str):
        super().__init__(features, metric)
        self._vectors = (
            l2_normalize(features.vectors, norm_dtype=np.float64) if metric == "angular" else features.vectors
        )

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared lengths of the vectors, (N,)."""
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
        """The k nearest other pictures of every picture at once: rows (N, k) int64 and distances (N, k) float64.

        `rows[i, j]` is the place in `ids` of the neighbour of rank j + 1 of `ids[i]`: what `query(ids[i], k)` says,
        without a table for each.

        Raises QueryError where k is over the number of other pictures.
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
        """How near every picture is to these, (B, N): cosines where the metric is angular, else negative distances."""
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
