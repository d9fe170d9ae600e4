"""HNSW search with NMSLIB (github.com/nmslib/nmslib), through the maintained package nmslib-metabrainz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import import_optional
from ..features import Features, compared
from ..store import blocks
from .hnsw import Graph


class NmslibIndex(Graph):
    """Approximate search in an HNSW graph, built with NMSLIB.

    Needs the package nmslib-metabrainz. Vectors are scaled to length 1 if the metric is angular. The file is that of
    NMSLIB with the vectors appended. During `build` memory holds three copies of the vectors.

    References
    ----------
    Malkov & Yashunin 2018, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs.
    """

    ending = ".nmslib"
    settings = ("M", "ef_construction", "ef", "n_jobs")
    _stored: np.ndarray | None = None
    """The bytes of the file, for an index that was opened."""

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
        n_jobs: int = 1,
    ) -> NmslibIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean", "manhattan"}, default "angular"
        M : int, default 16
            Edges per vector in the upper layers of the graph; the lowest layer has twice as many.
        ef_construction : int, default 200
            Candidates kept while the graph is built. A greater value gives a better graph and takes longer to build.
        ef : int, default 100
            Candidates kept by a query, at least k. A greater value is slower and misses fewer neighbours.
        n_jobs : int, default 1
            Threads; -1 uses all processors.

        Returns
        -------
        NmslibIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters.

        Notes
        -----
        NMSLIB takes no seed: with one thread, the first index that a process builds is always the same; a second one
        differs from it.
        """
        settings = {"M": M, "ef_construction": ef_construction, "ef": ef, "n_jobs": n_jobs}
        index, vectors = cls._start(features, ids, metric, **settings)
        index._vectors = compared(vectors, metric)
        index._nmslib = index._empty()
        for start, block in blocks(index._vectors):
            index._nmslib.addDataPointBatch(block, np.arange(start, start + len(block), dtype=np.int32))
        parameters = {"M": index.M, "efConstruction": index.ef_construction, "indexThreadQty": index.n_jobs}
        index._nmslib.createIndex(parameters, print_progress=False)
        return index

    def _empty(self):
        space = "l1" if self.metric == "manhattan" else "l2"
        return import_optional("nmslib", "nmslib-metabrainz").init(method="hnsw", space=space)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._nmslib.setQueryTimeParams({"efSearch": effort})
        rows, distances = np.full((len(queries), n), -1, dtype=np.int64), np.full((len(queries), n), np.inf)
        threads = 1 if len(queries) == 1 else 0  # 0: all
        found = self._nmslib.knnQueryBatch(compared(queries, self.metric), n, num_threads=threads)
        for place, (near, far) in enumerate(found):
            rows[place, : len(near)], distances[place, : len(near)] = near, far
        return rows, distances if self.metric == "manhattan" else np.sqrt(distances)

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self._vectors[rows])

    def _write(self, path: Path) -> None:
        if self._stored is not None:  # an opened index has no vectors inside NMSLIB, which would write an empty graph
            path.write_bytes(self._stored)
            return
        try:
            self._nmslib.saveIndex(str(path), save_data=False)
        except RuntimeError as error:
            raise OSError(str(error)) from None
        with path.open("ab") as file:
            for _, block in blocks(self._vectors):
                file.write(block.tobytes())

    def _read(self, path: Path) -> tuple[int, int]:
        self._stored = np.memmap(path, np.uint8, "r")
        # The header gives the number of vectors, and the bytes of each with the 16 that NMSLIB puts before it.
        _, count, _, _, size = self._stored[:20].view(np.uint32).tolist()
        shape = count, (size - 16) // 4
        if shape == (len(self), self.width):  # a wrong width crashes the process
            self._vectors = np.memmap(path, np.float32, "r", len(self._stored) - 4 * count * self.width, shape)
            self._nmslib = self._empty()
            self._nmslib.loadIndex(str(path), load_data=False)
        return shape

    def _about(self) -> dict:
        return {"nmslib": import_optional("nmslib", "nmslib-metabrainz").__version__, **super()._about()}
