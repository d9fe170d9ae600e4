"""Approximate search with Annoy."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np

from ..errors import AmulsearchError, MissingPackageError, StoreError, import_optional
from ..features import Features, l2_normalize
from ..store import blocks
from .base import Index
from .exact_index import ExactIndex


class AnnoyIndex(Index):
    """Approximate search in a forest of random projection trees (github.com/spotify/annoy).

    Needs the package annoy, which is compiled on installation. What Annoy accepts silently and answers wrongly is
    refused. An index opened from disk stays on disk, as a memory map.

    Examples
    --------
    >>> import numpy as np
    >>> import amulsearch as am
    >>> vectors = np.random.default_rng(0).standard_normal((100, 8))
    >>> index = am.AnnoyIndex.build(vectors, [f"{row:02}.png" for row in range(100)], n_trees=10)
    >>> index.query("07.png", k=3)["id"].tolist()
    ['69.png', '33.png', '53.png']
    """

    ending = ".ann"
    settings = (*Index.settings, "n_trees", "seed", "n_jobs", "search_k")
    approximate = True

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        n_trees: int = 50,
        search_k: int | None = None,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> AnnoyIndex:
        """Build an index of Features, or of any (N, D) array and its ids.

        Parameters
        ----------
        features : Features or ndarray of shape (N, D)
        ids : sequence of N str, optional
            Required with a plain array.
        metric : {"angular", "euclidean"}, default "angular"
        n_trees : int, default 50
            More trees find more of the true neighbours and take more disk space.
        search_k : int, optional
            How many nodes a query searches, n_trees * max(100, k + 1) by default. A greater value is slower and
            misses fewer neighbours.
        seed : int, default 0
        n_jobs : int, default 1
            Threads; -1 uses all processors. One thread always gives the same forest for the same seed, several do not.
        """
        index, vectors = cls._start(features, ids, metric, n_trees=n_trees, search_k=search_k, seed=seed, n_jobs=n_jobs)
        index._annoy = _annoy().AnnoyIndex(index.width, metric)
        index._annoy.set_seed(index.seed)
        for start, block in blocks(vectors):
            for row, vector in enumerate(block, start):
                index._annoy.add_item(row, vector.tolist())  # Annoy reads an array slowly, number by number
        index._annoy.build(index.n_trees, index.n_jobs)
        return index

    def _effort(self, n: int, search_k: int | None) -> int:
        # Annoy's own default, n_trees * n, searches so few nodes for n = 1 that the result is often not the first one
        # for n = 10 (spotify/annoy#215). With one default for all n up to 100, a short list is the beginning of a
        # longer one.
        return max(search_k, n) if search_k else self.n_trees * max(100, n)

    def _most(self) -> int:
        return 4 * self.n_trees * len(self)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        rows, distances = np.full((len(queries), n), -1, dtype=np.int64), np.full((len(queries), n), np.inf)
        for place, query in enumerate(queries):
            near, far = self._annoy.get_nns_by_vector(query.tolist(), n, effort, include_distances=True)
            rows[place, : len(near)], distances[place, : len(near)] = near, far
        return rows, distances

    def take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array([self._annoy.get_item_vector(int(row)) for row in rows], dtype=np.float32)

    def _write(self, path: Path) -> None:
        self._annoy.save(str(path))  # from here on Annoy reads the forest from that file

    def _read(self, path: Path) -> tuple[int, int]:
        try:
            self._annoy = _annoy().AnnoyIndex(self.width, self.metric)
        except MissingPackageError as error:
            raise StoreError(f"{path} was built with Annoy: {error}, and build it again") from None
        self._annoy.load(str(path))
        return self._annoy.get_n_items(), self.width


def default_kind() -> type[Index]:
    """AnnoyIndex, or where Annoy is not installed ExactIndex: for some ten thousand pictures it is as fast as anyone
    needs (docs/measurements.md)."""
    return AnnoyIndex if find_spec("annoy") else ExactIndex


@cache
def _annoy() -> ModuleType:
    """The library; some builds return one neighbour only, or wrong ones (spotify/annoy#679, #686): checked once."""
    instead = "use exact search (am.ExactIndex), or for many pictures am.indexes.FaissIndex"
    annoy = import_optional("annoy", "annoy (which needs a C++ compiler)", instead)
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    trial = annoy.AnnoyIndex(8, "angular")
    for row, vector in enumerate(vectors):
        trial.add_item(row, vector)
    trial.build(10)
    units = l2_normalize(vectors, norm_dtype=np.float64)
    expected = np.argsort(-(units @ units[0]), kind="stable")[:10].tolist()
    if trial.get_nns_by_item(0, 10, 4000) != expected:
        raise AmulsearchError(
            "the installed build of annoy returns wrong neighbours: reinstall it from source without -ffast-math "
            "(ANNOY_COMPILER_ARGS=-O3,-std=c++14 pip install --no-binary :all: --force-reinstall annoy)"
        )
    return annoy
