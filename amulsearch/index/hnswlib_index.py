"""HNSW search with hnswlib (github.com/nmslib/hnswlib), the library by the authors of HNSW."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..errors import import_optional
from ..features import Features, compared
from ..store import blocks
from .hnsw import Graph


class HnswlibIndex(Graph):
    """Approximate search in an HNSW graph, built with hnswlib.

    Needs the package hnswlib, which has no metric "manhattan". Vectors are scaled to length 1 if the metric is angular.

    References
    ----------
    Malkov & Yashunin 2018, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs.
    """

    ending = ".hnsw"
    metrics = ("angular", "euclidean")
    settings = ("M", "ef_construction", "ef", "seed", "n_jobs")

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        M: int = 16,
        ef_construction: int = 200,
        ef: int = 100,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> HnswlibIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean"}, default "angular"
        M : int, default 16
            Edges per vector in the upper layers of the graph; the lowest layer has twice as many.
        ef_construction : int, default 200
            Candidates kept while the graph is built. A greater value gives a better graph and takes longer to build.
        ef : int, default 100
            Candidates kept by a query, at least k. A greater value is slower and misses fewer neighbours.
        seed : int, default 0
        n_jobs : int, default 1
            Threads; -1 uses all processors. One thread always gives the same graph for the same seed, several do not.

        Returns
        -------
        HnswlibIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters.
        """
        settings = {"M": M, "ef_construction": ef_construction, "ef": ef}
        index, vectors = cls._start(features, ids, metric, **settings, seed=seed, n_jobs=n_jobs)
        index._hnsw = import_optional("hnswlib", "hnswlib").Index("l2", index.width)
        index._hnsw.init_index(len(index), index.M, index.ef_construction, index.seed)
        for start, block in blocks(vectors):
            rows = np.arange(start, start + len(block))
            index._hnsw.add_items(compared(block, metric), rows, num_threads=index.n_jobs)
        return index

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._hnsw.set_ef(effort)
        queries = compared(queries, self.metric)
        try:
            rows, distances = self._hnsw.knn_query(queries, n, num_threads=1 if len(queries) == 1 else -1)
        except RuntimeError:  # fewer than n are reachable in the graph for one of the queries (nmslib/hnswlib#244)
            if len(queries) == 1:
                return np.full((1, n), -1, dtype=np.int64), np.full((1, n), np.inf)
            halves = [self._search(half, n, effort) for half in np.array_split(queries, 2)]
            return tuple(np.concatenate(part) for part in zip(*halves, strict=True))
        return rows.astype(np.int64), np.sqrt(distances.astype(np.float64))

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return self._hnsw.get_items(rows, return_type="numpy")

    def _write(self, path: Path) -> None:
        self._hnsw.save_index(str(path))  # reports no error if it cannot write
        if not path.exists() or path.stat().st_size != self._hnsw.index_file_size():
            raise OSError("the disk is full or the folder is not writable")

    def _read(self, path: Path) -> tuple[int, int]:
        # The header gives the number of vectors, and where in each element the vector begins and ends.
        _, _, count, _, end, begin = np.fromfile(path, dtype=np.uint64, count=6).tolist()
        self._hnsw = import_optional("hnswlib", "hnswlib").Index("l2", self.width)
        shape = count, (end - begin) // 4
        if shape == (len(self), self.width):  # a wrong width crashes the process
            self._hnsw.load_index(str(path))
        return shape

    def _about(self) -> dict:
        return {"hnswlib": version("hnswlib"), **super()._about()}
