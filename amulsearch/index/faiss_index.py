"""Approximate search with FAISS: an HNSW graph, an inverted file, or locality-sensitive hashing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from ..errors import QueryError, import_optional
from ..features import Features, metric_vectors
from ..store import blocks
from .base import Index

FACTORY = re.compile(r"(HNSW|IVF)(\d{1,7}),Flat|(LSH)(\d{1,7})rt,RFlat")
"""The factory strings whose index keeps the vectors as they are; some others end the process."""
EFFORTS = {"HNSW": ("efSearch", 100), "IVF": ("nprobe", 16), "LSH": ("k_factor_rf", 500)}
"""FAISS's search parameter of each kind of index, and the default of `search_k`."""


def _faiss():
    return import_optional("faiss", "faiss-cpu")


class FaissIndex(Index):
    """Approximate search with FAISS (github.com/facebookresearch/faiss), which is installed without a compiler.

    Needs the package faiss-cpu.

    References
    ----------
    Malkov & Yashunin 2018, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs.
    """

    ending = ".faiss"
    metrics = ("angular", "euclidean")
    settings = (*Index.settings, "factory", "search_k", "n_jobs")
    approximate = True

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        factory: str = "HNSW16,Flat",
        metric: str = "angular",
        search_k: int | None = None,
        n_jobs: int = 1,
    ) -> FaissIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        factory : str, default "HNSW16,Flat"
            FAISS's text for an index: a graph with 16 edges per vector (HNSW), an inverted file of 512 cells
            ("IVF512,Flat"; k-means needs 39 vectors or more for each), or hashing to 256 bits ("LSH256rt,RFlat"; the
            vectors with the most equal bits are compared exactly). The numbers can be others.
        metric : {"angular", "euclidean"}, default "angular"
        search_k : int, optional
            How much a query searches: the candidates of a graph (100 by default), cells (16), or the vectors that are
            compared after hashing (500). A greater value is slower and misses fewer neighbours.
        n_jobs : int, default 1
            Threads; -1 uses all processors. One thread always gives the same index.
        """
        index, vectors = cls._start(features, ids, metric, search_k=search_k, n_jobs=n_jobs)
        index.factory = factory
        kind, count = index._kind()
        if kind == "IVF" and count > len(vectors):
            raise QueryError(f"{factory} has more cells than the {len(vectors)} vectors: give a smaller number")
        index.search_k = index.search_k or EFFORTS[kind][1]
        index._faiss = library = _faiss().index_factory(index.width, factory)
        if kind == "HNSW":
            library.hnsw.efConstruction, library.hnsw.rng = 200, _faiss().RandomGenerator(0)
        some = np.sort(np.random.default_rng(0).permutation(len(vectors))[: max(20_000, 64 * count)])
        with _threads(index.n_jobs):
            library.train(metric_vectors(vectors[some], metric))
            if kind == "IVF":
                library.make_direct_map()  # from a row to its cell, for queries by id
            for _, block in blocks(vectors):
                library.add(metric_vectors(block, metric))
        return index

    def _kind(self) -> tuple[str, int]:
        """HNSW, IVF or LSH, and the number of edges, cells or bits."""
        match = FACTORY.fullmatch(str(self.factory))
        kind, count = filter(None, match.groups()) if match else ("", 0)
        if int(count) < (2 if kind == "HNSW" else 1):
            raise QueryError(
                f"factory must be like 'HNSW16,Flat', 'IVF512,Flat' or 'LSH256rt,RFlat', not {self.factory!r}"
            )
        return kind, int(count)

    def _effort(self, n: int, search_k: int) -> int:
        return search_k if self._kind()[0] == "IVF" else max(search_k, n)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        parameter = EFFORTS[self._kind()[0]][0]
        value = (effort + 0.5) / n if parameter == "k_factor_rf" else effort  # FAISS cuts off n * k_factor_rf
        _faiss().ParameterSpace().set_index_parameter(self._faiss, parameter, value)
        with _threads(1) if len(queries) == 1 else nullcontext():  # for one query, several threads are slower
            squares, rows = self._faiss.search(metric_vectors(queries, self.metric), n)
        return rows, np.sqrt(squares, dtype=np.float64)

    def take(self, rows: Sequence[int]) -> np.ndarray:
        return self._faiss.reconstruct_batch(np.asarray(rows, dtype=np.int64))

    def _write(self, path: Path) -> None:
        faiss = _faiss()
        with path.open("wb") as file:  # FAISS's own writer does not report a full disk
            faiss.write_index(self._faiss, faiss.PyCallbackIOWriter(file.write, 2**20))

    def _read(self, path: Path) -> tuple[int, int]:
        self._faiss = _faiss().read_index(str(path))
        return self._faiss.ntotal, self._faiss.d


@contextmanager
def _threads(count: int):
    """Set the number of FAISS threads, which holds for the whole process, and restore it afterwards."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
