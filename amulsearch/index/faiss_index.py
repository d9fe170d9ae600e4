"""Approximate search with FAISS."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import import_optional
from ..features import Features, metric_vectors
from ..store import blocks
from .base import Index


def _faiss():
    return import_optional("faiss", "faiss-cpu")


class FaissIndex(Index):
    """Approximate search in a graph of FAISS (github.com/facebookresearch/faiss), which needs no compiler.

    Needs the package faiss-cpu. Each vector is linked to up to 32 near ones, and a query walks along the links: HNSW
    (Malkov & Yashunin 2018).
    """

    ending = ".faiss"
    settings = (*Index.settings, "search_k")
    approximate = True

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        search_k: int = 100,
    ) -> FaissIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean"}, default "angular"
        search_k : int, default 100
            How many candidates a query keeps. A greater value is slower and misses fewer neighbours.
        """
        index, vectors = cls._start(features, ids, metric, search_k=search_k)
        faiss = _faiss()
        index._graph = faiss.IndexHNSWFlat(index.width, 16)
        index._graph.hnsw.efConstruction, index._graph.hnsw.rng = 200, faiss.RandomGenerator(0)
        threads = faiss.omp_get_max_threads()
        faiss.omp_set_num_threads(1)  # for the whole process; several threads would make another graph each time
        try:
            for _, block in blocks(vectors):
                index._graph.add(metric_vectors(block, metric))
        finally:
            faiss.omp_set_num_threads(threads)
        return index

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._graph.hnsw.efSearch = effort
        squares, rows = self._graph.search(metric_vectors(queries, self.metric), n)
        return rows, np.sqrt(squares, dtype=np.float64)

    def take(self, rows: Sequence[int]) -> np.ndarray:
        return self._graph.reconstruct_batch(np.asarray(rows, dtype=np.int64))

    def _write(self, path: Path) -> None:
        faiss = _faiss()
        with path.open("wb") as file:  # FAISS's own writer does not report a full disk
            faiss.write_index(self._graph, faiss.PyCallbackIOWriter(file.write, 2**20))

    def _read(self, path: Path) -> tuple[int, int]:
        self._graph = _faiss().read_index(str(path))
        return self._graph.ntotal, self._graph.d
