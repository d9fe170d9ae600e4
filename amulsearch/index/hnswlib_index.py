"""Search in a graph with hnswlib (github.com/nmslib/hnswlib), by the authors of HNSW."""

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
    """A graph of near neighbours in layers: Malkov & Yashunin 2018, "Efficient and robust approximate nearest neighbor
    search using hierarchical navigable small world graphs".

    Vectors are scaled to length 1 where the metric is angular. hnswlib has no metric "manhattan".
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
        """An index of Features, or of any (N, D) array and its ids. The parameters are those of `FaissHNSWIndex`."""
        settings = {"M": M, "ef_construction": ef_construction, "ef": ef}
        index, vectors = cls._start(features, ids, metric, **settings, seed=seed, n_jobs=n_jobs)
        index._hnsw = import_optional("hnswlib", "hnswlib").Index("l2", index.width)
        index._hnsw.init_index(len(index), index.M, index.ef_construction, index.seed)
        for start, block in blocks(vectors):
            rows = np.arange(start, start + len(block))
            index._hnsw.add_items(compared(block, metric), rows, num_threads=index.n_jobs)
        return index

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._hnsw.set_ef(effort)
        try:
            rows, distances = self._hnsw.knn_query(self._asked(query), n, num_threads=1)
        except RuntimeError:  # the graph leads to fewer than n (nmslib/hnswlib#244)
            return np.empty(0, dtype=np.int64), np.empty(0)
        return rows[0].astype(np.int64), np.sqrt(distances[0].astype(np.float64))

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return self._hnsw.get_items(rows, return_type="numpy")

    def _write(self, path: Path) -> None:
        self._hnsw.save_index(str(path))  # says nothing where it cannot write
        if not path.exists() or path.stat().st_size != self._hnsw.index_file_size():
            raise OSError("the disk is full, or the folder cannot be written to")

    def _read(self, path: Path) -> tuple[int, int]:
        # The file's beginning says how many vectors there are, and where in each element they begin and end.
        _, _, count, _, end, begin = np.fromfile(path, dtype=np.uint64, count=6).tolist()
        self._hnsw = import_optional("hnswlib", "hnswlib").Index("l2", self.width)
        shape = count, (end - begin) // 4
        if shape == (len(self), self.width):  # a wrong width crashes the process
            self._hnsw.load_index(str(path))
        return shape

    def _sidecar(self) -> dict:
        return {"hnswlib": version("hnswlib"), **super()._sidecar()}
