"""Search in a graph with NMSLIB (github.com/nmslib/nmslib), through its maintained package nmslib-metabrainz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import import_optional
from ..features import Features, compared
from ..store import blocks
from .hnsw import Graph


class NmslibIndex(Graph):
    """A graph of near neighbours in layers: Malkov & Yashunin 2018, "Efficient and robust approximate nearest neighbor
    search using hierarchical navigable small world graphs".

    Vectors are scaled to length 1 where the metric is angular. The file is NMSLIB's, with the vectors after its end.
    While it is built, the vectors are in memory three times.
    """

    ending = ".nmslib"
    settings = ("M", "ef_construction", "ef", "n_jobs")
    _stored: np.ndarray | None = None
    """The bytes of the file, where it was opened."""

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
        """An index of Features, or of any (N, D) array and its ids. The parameters are those of `FaissHNSWIndex`.

        NMSLIB takes no seed: with one job the first index that a process builds is the same every time, and the next
        one is another.
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

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        self._nmslib.setQueryTimeParams({"efSearch": effort})
        rows, distances = self._nmslib.knnQuery(self._asked(query)[0], n)
        distances = distances.astype(np.float64)
        return rows.astype(np.int64), distances if self.metric == "manhattan" else np.sqrt(distances)

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array(self._vectors[rows])

    def _write(self, path: Path) -> None:
        if self._stored is not None:  # opened without its own copy of the vectors, NMSLIB would write an empty graph
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
        # The file's beginning says how many vectors there are, and the bytes of each with 16 of its own before it.
        _, count, _, _, size = self._stored[:20].view(np.uint32).tolist()
        shape = count, (size - 16) // 4
        if shape == (len(self), self.width):  # a wrong width crashes the process
            self._vectors = np.memmap(path, np.float32, "r", len(self._stored) - 4 * count * self.width, shape)
            self._nmslib = self._empty()
            self._nmslib.loadIndex(str(path), load_data=False)
        return shape

    def _sidecar(self) -> dict:
        return {"nmslib": import_optional("nmslib", "nmslib-metabrainz").__version__, **super()._sidecar()}
