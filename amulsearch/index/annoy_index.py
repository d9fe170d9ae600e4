"""Approximate search with Annoy, the default index."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import annoy
import numpy as np

from ..errors import AmulsearchError, StoreError
from ..features import Features, l2_normalize
from ..store import blocks
from .base import Index


class AnnoyIndex(Index):
    """Annoy's forest of random projection trees (github.com/spotify/annoy), with what Annoy leaves unsaid checked.

    Opened from disk, the forest stays there (memory map).
    """

    ending = ".ann"
    settings = ("n_trees", "seed", "n_jobs", "search_k")
    effort = "search_k"
    ladder = ({"n_trees": 10}, {"n_trees": 30}, {"n_trees": 100})

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
        on_disk: str | os.PathLike | None = None,
    ) -> AnnoyIndex:
        """An index of Features, or of any (N, D) array and its ids.

        n_trees: more trees find more of the true neighbours and take more disk.
        search_k: how many nodes a query looks at; None for n_trees * max(100, k + 1). More is slower and misses less.
        seed, n_jobs: one job gives the same forest for the same seed every time; several do not. -1: all processors.
        on_disk: a path at which the forest grows, in place of memory, and where it stays as `save` would leave it: for
            collections larger than memory, whose vectors can be a memory map.

        Raises StoreError where the disk has too little room for the forest.
        """
        _check_annoy()
        index, vectors = cls._start(features, ids, metric, n_trees=n_trees, search_k=search_k, seed=seed, n_jobs=n_jobs)
        index._annoy = annoy.AnnoyIndex(index.width, metric)
        if on_disk is None:
            index._grow(vectors)
        else:
            path = index._save(on_disk, lambda temporary: index._grow_on_disk(vectors, temporary))
            index._read(path)
        return index

    def _grow(self, vectors: np.ndarray) -> None:
        self._annoy.set_seed(self.seed)
        for start, block in blocks(vectors):
            for row, vector in enumerate(block, start):
                self._annoy.add_item(row, vector.tolist())  # Annoy reads an array a number at a time, slowly
        self._annoy.build(self.n_trees, self.n_jobs)

    def _grow_on_disk(self, vectors: np.ndarray, path: Path) -> None:
        # Annoy maps the file into memory: where the disk is full, the next write ends the process.
        free, needed = shutil.disk_usage(path.parent).free, self._bytes()
        if needed > free:
            raise StoreError(f"{path.parent} has {free / 1e9:.1f} GB free, and the forest takes {needed / 1e9:.1f} GB")
        path.touch()  # with the rights of any file; Annoy's own nobody else could read
        self._annoy.on_disk_build(str(path))
        self._grow(vectors)
        self._annoy.unload()

    def _bytes(self) -> int:
        """What the forest takes at most: a node a vector, and in each tree 14 to 21 bytes a vector (measured)."""
        node = 16 + 4 * self.width
        return len(self) * node + self.n_trees * (24 * len(self) + 4 * node)

    def _effort(self, n: int, effort: int | None) -> int:
        # Annoy's own default, n_trees * n, looks at so little for n = 1 that it is often not the first of n = 10
        # (spotify/annoy#215); one default for all n up to 100 makes short lists the beginning of long ones.
        return max(effort, n) if effort else self.n_trees * max(100, n)

    def _most(self) -> int:
        return 4 * self.n_trees * len(self)

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        ask = self._annoy.get_nns_by_vector if isinstance(query, np.ndarray) else self._annoy.get_nns_by_item
        rows, distances = ask(query, n, effort, include_distances=True)
        return np.array(rows, dtype=np.int64), np.array(distances)

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        return np.array([self._annoy.get_item_vector(int(row)) for row in rows], dtype=np.float32)

    def _write(self, path: Path) -> None:
        try:
            self._annoy.save(str(path))  # from here on the forest lies in that file
        except OSError as error:  # Annoy tells the number of the error in its text only
            number = re.search(r"\((\d+)\)$", str(error))
            raise (OSError(int(number[1]), os.strerror(int(number[1]))) if number else error) from None

    def _read(self, path: Path) -> tuple[int, int]:
        _check_annoy()
        self._annoy = annoy.AnnoyIndex(self.width, self.metric)
        self._annoy.load(str(path))
        return self._annoy.get_n_items(), self.width

    def _sidecar(self) -> dict:
        return {"annoy": version("annoy"), **super()._sidecar()}


@lru_cache(maxsize=1)
def _check_annoy() -> None:
    """Some compilations of Annoy give one neighbour only, or wrong ones (spotify/annoy#679, #686): ask once."""
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    trial = annoy.AnnoyIndex(8, "angular")
    for row, vector in enumerate(vectors):
        trial.add_item(row, vector)
    trial.build(10)
    units = l2_normalize(vectors, norm_dtype=np.float64)
    expected = np.argsort(-(units @ units[0]), kind="stable")[:10].tolist()
    if trial.get_nns_by_item(0, 10, 4000) != expected:
        raise AmulsearchError(
            "this compilation of annoy gives wrong neighbours: install it again from source without -ffast-math "
            "(ANNOY_COMPILER_ARGS=-O3,-std=c++14 pip install --no-binary :all: --force-reinstall annoy)"
        )
