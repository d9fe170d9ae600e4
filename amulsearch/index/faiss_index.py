"""Search with FAISS (github.com/facebookresearch/faiss): inverted file, HNSW graph and locality-sensitive hashing.

If the metric is angular, the vectors are scaled to length 1. FAISS returns squared Euclidean distances; the index
returns their square roots.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from ..errors import QueryError, check_integer, import_optional
from ..features import Features, metric_vectors
from ..store import blocks
from .base import Index

FETCHED = 2**22
"""How many neighbours are requested from FAISS at once, for all queries together."""


def _faiss():
    return import_optional("faiss", "faiss-cpu")


class _FaissIndex(Index):
    """The base class of the FAISS indexes; `_faiss` is the index object of the library."""

    ending = ".faiss"

    def _empty(self, factory: str):
        """An empty FAISS index, made by `faiss.index_factory` from this string."""
        faiss = _faiss()
        metric = faiss.METRIC_L1 if self.metric == "manhattan" else faiss.METRIC_L2
        self._faiss = faiss.index_factory(self.width, factory, metric)
        return self._faiss

    def _add(self, vectors: np.ndarray) -> None:
        for _, block in blocks(vectors):
            self._faiss.add(metric_vectors(block, self.metric))

    def _drawn(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """A random sample (S, D) of at most `count` vectors, for training."""
        rows = np.random.default_rng(self.seed).permutation(len(vectors))[:count]
        return metric_vectors(vectors[np.sort(rows)], self.metric)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        queries, fetched = metric_vectors(queries, self.metric), self._fetched(n, effort)
        rows, distances = np.empty((len(queries), n), dtype=np.int64), np.empty((len(queries), n))
        parameters, step = self._parameters(effort), max(1, FETCHED // fetched)
        with _threads(1) if len(queries) == 1 else nullcontext():  # for one query, several threads are slower
            for start in range(0, len(queries), step):
                part = slice(start, start + step)
                far, near = self._faiss.search(queries[part], fetched, params=parameters)
                rows[part], distances[part] = near[:, :n], far[:, :n]
        return rows, distances if self.metric == "manhattan" else np.sqrt(distances)

    def _fetched(self, n: int, effort: int) -> int:
        """How many neighbours to request from FAISS."""
        return n

    def _parameters(self, effort: int):
        return None

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return self._faiss.reconstruct_batch(np.asarray(rows, dtype=np.int64))

    def _write(self, path: Path) -> None:
        faiss = _faiss()
        with path.open("wb") as file:  # FAISS's own writer does not report a full disk
            faiss.write_index(self._faiss, faiss.PyCallbackIOWriter(file.write, 2**20))

    def _read(self, path: Path) -> tuple[int, int]:
        self._faiss = _faiss().read_index(str(path))
        return self._faiss.ntotal, self._faiss.d

    def _about(self) -> dict:
        return {"faiss": _faiss().__version__, **super()._about()}


class FaissIVFIndex(_FaissIndex):
    """Approximate search in FAISS's inverted file: vectors are grouped into cells, and a query searches the nearest.

    Needs the package faiss-cpu.
    """

    settings = ("nlist", "nprobe", "seed", "n_jobs")
    effort = "nprobe"

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        nlist: int | None = None,
        nprobe: int = 16,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> FaissIVFIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean", "manhattan"}, default "angular"
        nlist : int, optional
            Number of cells, by default the lesser of 4 sqrt(N) and N / 39: k-means learns each centre from at least
            39 vectors, as FAISS recommends, and from at most 64.
        nprobe : int, default 16
            Number of cells that a query searches. A greater value is slower and misses fewer neighbours.
        seed : int, default 0
        n_jobs : int, default 1
            Threads; -1 uses all processors. One thread always gives the same index for the same seed.

        Returns
        -------
        FaissIVFIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters, and for more cells than vectors.
        """
        index, vectors = cls._start(features, ids, metric, nlist=nlist, nprobe=nprobe, seed=seed, n_jobs=n_jobs)
        index.nlist = index.nlist or max(1, min(round(4 * len(index) ** 0.5), len(index) // 39))
        if index.nlist > len(index):
            raise QueryError(
                f"nlist={nlist} is more than the {len(index)} vectors to learn the cells from: give a smaller nlist"
            )
        made = index._empty(f"IVF{index.nlist},Flat")
        made.cp.seed, made.cp.min_points_per_centroid = index.seed, 1
        with _threads(index.n_jobs):
            made.train(index._drawn(vectors, 64 * index.nlist))
            made.make_direct_map()  # maps a row to its cell, for queries by id
            index._add(vectors)
        return index

    def _effort(self, n: int, effort: int) -> int:
        return min(effort, self.nlist)

    def _most(self) -> int:
        return self.nlist

    def _parameters(self, effort: int):
        return _faiss().SearchParametersIVF(nprobe=effort)


class FaissHNSWIndex(_FaissIndex):
    """Approximate search in an HNSW graph, built with FAISS.

    Needs the package faiss-cpu.

    References
    ----------
    Malkov & Yashunin 2018, Efficient and robust approximate nearest neighbor search using hierarchical navigable
    small world graphs.
    """

    settings = ("M", "ef_construction", "ef", "seed", "n_jobs")
    effort, exhaustive = "ef", False  # parts of a graph can be unreachable
    ladder = ({"M": 16}, {"M": 32})

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
    ) -> FaissHNSWIndex:
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
        seed : int, default 0
        n_jobs : int, default 1
            Threads; -1 uses all processors. One thread always gives the same graph for the same seed, several do not.

        Returns
        -------
        FaissHNSWIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters.
        """
        check_integer("M", M, least=2)
        settings = {"M": M, "ef_construction": ef_construction, "ef": ef, "seed": seed, "n_jobs": n_jobs}
        index, vectors = cls._start(features, ids, metric, **settings)
        made = index._empty(f"HNSW{index.M},Flat")
        made.hnsw.efConstruction, made.hnsw.rng = index.ef_construction, _faiss().RandomGenerator(index.seed)
        with _threads(index.n_jobs):
            index._add(vectors)
        return index

    def _effort(self, n: int, effort: int) -> int:
        return max(effort, n)

    def _parameters(self, effort: int):
        return _faiss().SearchParametersHNSW(efSearch=effort)


class FaissLSHIndex(_FaissIndex):
    """Approximate search by FAISS's locality-sensitive hashing: vectors with the most equal bits are compared exactly.

    Each bit says on which side of a hyperplane a vector lies. The hyperplanes have random directions, and half of the
    vectors lie on either side of each. The distances are exact. Needs the package faiss-cpu.
    """

    metrics = ("angular", "euclidean")
    settings = ("n_bits", "n_candidates", "seed")
    effort = "n_candidates"
    ladder = ({"n_bits": 256}, {"n_bits": 1024})

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        n_bits: int = 256,
        n_candidates: int = 500,
        seed: int = 0,
    ) -> FaissLSHIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean"}, default "angular"
        n_bits : int, default 256
            Bits per vector (FAISS's nbits). More bits distinguish pictures better and take longer to search.
        n_candidates : int, default 500
            How many pictures are compared exactly, at least k. A greater value is slower and misses fewer neighbours.
        seed : int, default 0
            The same seed always gives the same index.

        Returns
        -------
        FaissLSHIndex

        Raises
        ------
        QueryError
            For invalid vectors, ids or parameters.
        """
        index, vectors = cls._start(features, ids, metric, n_bits=n_bits, n_candidates=n_candidates, seed=seed)
        made = index._empty(f"LSH{index.n_bits}rt,RFlat")
        _faiss().downcast_index(made.base_index).rrot.init(index.seed)
        made.train(index._drawn(vectors, 20_000))
        index._add(vectors)
        return index

    def _effort(self, n: int, effort: int) -> int:
        return min(max(effort, n), len(self))

    def _fetched(self, n: int, effort: int) -> int:
        return effort

    def _parameters(self, effort: int):
        return _faiss().IndexRefineSearchParameters(k_factor=1.0)


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
