"""Exact search: the reference for the recall of approximate indexes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import QueryError, check_integer
from ..features import Features, metric_vectors, nearest
from ..store import blocks
from .base import Index
from .system import System, check_same


class ExactIndex(Index):
    """Exact search: every vector is compared with the query (numpy).

    It is slower than an approximate index on large collections, and misses nothing. The vectors of an index opened
    from disk stay on disk, as a memory map.

    Some pictures, the hubs, are near to many others whatever is asked. With `hubs`, each picture is as much farther
    from every query as it is nearer to its own neighbours than others are to theirs, which orders the pictures as CSLS
    does: twice the cosine, less the mean cosine with the k nearest.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> index = am.ExactIndex.build(np.array([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]]), ["a", "b", "c"])
    >>> table = index.query("a", k=2)
    >>> table["id"].tolist(), table["distance"].round(3).tolist()
    (['b', 'c'], [0.632, 1.414])

    References
    ----------
    Conneau et al. 2018, Word translation without parallel data (CSLS).
    """

    ending = ".npy"
    settings = (*Index.settings, "hubs")
    hubs: int = 0

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        hubs: int = 0,
    ) -> ExactIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean"}, default "angular"
        hubs : int, default 0
            How many neighbours of each picture say how near it is to others in general; 0 corrects nothing. The metric
            is angular; a distance may be above 2.
        """
        if check_integer("hubs", hubs, least=0) and metric != "angular":
            raise QueryError(f"hubs are corrected for the metric angular: leave out hubs or the metric {metric}")
        index, vectors = cls._start(features, ids, metric)
        index._vectors, index.hubs = metric_vectors(vectors, metric), min(hubs, len(index) - 1)
        if index.hubs:
            index._vectors = np.column_stack([index._vectors, _heights(index._vectors, index.hubs)])
        return index

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared lengths (N,) of the vectors."""
        return np.einsum("nd,nd->n", self._vectors, self._vectors)

    def take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self._vectors[rows, : self.width])

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, search_k: int | None) -> tuple:
        queries = metric_vectors(queries, self.metric)
        if self.hubs:
            queries = np.pad(queries, ((0, 0), (0, 1)))
        # "euclidean", as the vectors are scaled already
        return nearest(self._vectors, queries, k, "euclidean", own, squares=self._squares)

    def cosines(self, queries: np.ndarray) -> np.ndarray:
        """The cosines (Q, N) float64 of queries (Q, D) with all vectors; the metric is angular."""
        queries = metric_vectors(queries, self.metric).astype(np.float64)
        values = np.empty((len(queries), len(self)))
        for start, block in blocks(self._vectors):
            block = block[:, : self.width]
            np.matmul(queries, block.T.astype(np.float64), out=values[:, start : start + len(block)])
        return values

    def scores(self, vectors: Sequence[np.ndarray], own: np.ndarray | None = None, k: int | None = None) -> np.ndarray:
        """As `System.scores`; all distances at once, to six decimals, so that they are the same for one query and for
        many together, and equal vectors have equal ones."""
        if k is not None or self.metric != "angular":
            return super().scores(vectors, own, k)
        squares = np.maximum(2 - 2 * self.cosines(self.checked(vectors[0])), 0)
        if self.hubs:
            squares += self._vectors[:, -1].astype(np.float64) ** 2
        values = -np.sqrt(squares).round(6)
        if own is not None:
            values[np.arange(len(values)), own] = -np.inf
        return values

    def _write(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self._vectors)

    def _read(self, path: Path) -> tuple[int, int]:
        self._vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        return len(self._vectors), self._vectors.shape[1] - bool(self.hubs)


def as_systems(systems: Sequence[System | Features], kind: type[System] = System) -> tuple[System, ...]:
    """Systems of one kind, of the same pictures; Features are searched exactly."""
    if not isinstance(systems, (list, tuple)):
        raise QueryError(f"give the systems in a list, not {type(systems).__name__}")
    made = tuple(ExactIndex.build(one) if isinstance(one, Features) else one for one in systems)
    for system in made:
        if not isinstance(system, kind):
            what = "systems" if kind is System else "indexes"
            raise QueryError(f"give {what} or Features, not {type(system).__name__}")
    check_same(made)
    return made


def _heights(vectors: np.ndarray, k: int) -> np.ndarray:
    """How far each vector (N, D) is moved away from all queries, at right angles to them: (N,) float32."""
    distances = nearest(vectors, vectors, k, "euclidean", np.arange(len(vectors)))[1]
    cosines = (1 - distances**2 / 2).mean(axis=1)
    return np.sqrt(cosines - cosines.min()).astype(np.float32)
