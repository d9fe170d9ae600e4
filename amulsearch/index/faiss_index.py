"""Search with FAISS (github.com/facebookresearch/faiss): in cells, in a graph, and by bits.

Vectors are compared as they are, or scaled to length 1 where the metric is angular, so that FAISS's squared distance
becomes ours by a square root.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..errors import QueryError, import_optional
from ..features import Features, compared
from ..store import blocks
from .base import Index
from .hnsw import Graph


def _faiss():
    return import_optional("faiss", "faiss-cpu")


class _FaissIndex(Index):
    """What all indexes of FAISS share; `_faiss` is the library's own."""

    ending = ".faiss"

    def _empty(self, factory: str):
        """Begin with FAISS's index of this name, see its `index_factory`."""
        faiss = _faiss()
        metric = faiss.METRIC_L1 if self.metric == "manhattan" else faiss.METRIC_L2
        self._faiss = faiss.index_factory(self.width, factory, metric)
        return self._faiss

    def _add(self, vectors: np.ndarray) -> None:
        for _, block in blocks(vectors):
            self._faiss.add(compared(block, self.metric))

    def _drawn(self, vectors: np.ndarray, count: int) -> np.ndarray:
        """So many of the vectors at most, to learn from, (S, D)."""
        rows = np.random.default_rng(self.seed).permutation(len(vectors))[:count]
        return compared(vectors[np.sort(rows)], self.metric)

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        fetched, parameters = self._fetched(n, effort), self._parameters(effort)
        with _threads(1):  # for one query several threads lose more time than they save
            distances, rows = self._faiss.search(self._asked(query), fetched, params=parameters)
        distances, rows = distances[0][:n].astype(np.float64), rows[0][:n]
        distances, rows = distances[rows >= 0], rows[rows >= 0]
        return rows, distances if self.metric == "manhattan" else np.sqrt(distances)

    def _fetched(self, n: int, effort: int) -> int:
        """How many neighbours FAISS is asked for."""
        return n

    def _parameters(self, effort: int):
        return None

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return self._faiss.reconstruct_batch(np.asarray(rows, dtype=np.int64))

    def _write(self, path: Path) -> None:
        faiss = _faiss()
        with path.open("wb") as file:  # FAISS's own writer does not say where the disk is full
            faiss.write_index(self._faiss, faiss.PyCallbackIOWriter(file.write, 2**20))

    def _read(self, path: Path) -> tuple[int, int]:
        self._faiss = _faiss().read_index(str(path))
        return self._faiss.ntotal, self._faiss.d

    def _sidecar(self) -> dict:
        return {"faiss": _faiss().__version__, **super()._sidecar()}


class FaissIVFIndex(_FaissIndex):
    """FAISS's inverted file: the vectors lie in cells around centres, and a query looks into the nearest cells."""

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
        """An index of Features, or of any (N, D) array and its ids.

        nlist: how many cells; None for 4 sqrt(N), or N / 39 where that is less: a centre is learned from at least 39
            vectors, as FAISS asks, and from at most 64 (k-means).
        nprobe: how many cells a query looks into. More is slower and misses less.
        seed, n_jobs: one job gives the same index for the same seed every time. -1: all processors.

        Raises QueryError for more cells than vectors.
        """
        index, vectors = cls._start(features, ids, metric, nlist=nlist, nprobe=nprobe, seed=seed, n_jobs=n_jobs)
        index.nlist = index.nlist or max(1, min(round(4 * len(index) ** 0.5), len(index) // 39))
        if index.nlist > len(index):
            raise QueryError(f"nlist={nlist} is more than the {len(index)} vectors, of which the cells are learned")
        made = index._empty(f"IVF{index.nlist},Flat")
        made.cp.seed, made.cp.min_points_per_centroid = index.seed, 1
        with _threads(index.n_jobs):
            made.train(index._drawn(vectors, 64 * index.nlist))
            made.make_direct_map()  # from a row to its cell, for queries by id
            index._add(vectors)
        return index

    def _effort(self, n: int, effort: int) -> int:
        return min(effort, self.nlist)

    def _most(self) -> int:
        return self.nlist

    def _parameters(self, effort: int):
        return _faiss().SearchParametersIVF(nprobe=effort)


class FaissHNSWIndex(Graph, _FaissIndex):
    """FAISS's graph of near neighbours in layers: Malkov & Yashunin 2018, "Efficient and robust approximate nearest
    neighbor search using hierarchical navigable small world graphs".
    """

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
    ) -> FaissHNSWIndex:
        """An index of Features, or of any (N, D) array and its ids.

        M: how many neighbours a vector is joined to in the upper layers; in the lowest it is twice as many.
        ef_construction: how many candidates are kept while they are sought; a better graph, and longer to build.
        ef: how many candidates a query keeps, at least k. More is slower and misses less.
        seed, n_jobs: one job gives the same graph for the same seed every time; several do not. -1: all processors.
        """
        settings = {"M": M, "ef_construction": ef_construction, "ef": ef, "seed": seed, "n_jobs": n_jobs}
        index, vectors = cls._start(features, ids, metric, **settings)
        made = index._empty(f"HNSW{index.M},Flat")
        made.hnsw.efConstruction, made.hnsw.rng = index.ef_construction, _faiss().RandomGenerator(index.seed)
        with _threads(index.n_jobs):
            index._add(vectors)
        return index

    def _parameters(self, effort: int):
        return _faiss().SearchParametersHNSW(efSearch=effort)


class FaissLSHIndex(_FaissIndex):
    """FAISS's locality-sensitive hashing: a bit says on which side of a plane a vector lies; most equal bits are near.

    The planes are turned at random and stand where half of the vectors are on either side. The pictures with the most
    similar bits are then compared exactly, so a distance is the same as everywhere.
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
        """An index of Features, or of any (N, D) array and its ids. It has no metric "manhattan".

        n_bits: how many bits a vector becomes (FAISS's nbits). More tell pictures better apart, and take longer.
        n_candidates: how many pictures are compared exactly, at least k. More is slower and misses less.
        seed: the same seed gives the same index.
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
    """So many threads of FAISS; it counts them for the whole process."""
    faiss = _faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
