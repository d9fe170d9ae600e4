"""Approximate search with Annoy, the default index."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import annoy
import numpy as np

from .encoding import save_fitted
from .errors import AmulsearchError, QueryError, StoreError
from .features import Features
from .index import ExactIndex, Index, as_features, row_of, unit
from .record import Model
from .sidecar import open_sidecar, save_with_sidecar


class AnnoyIndex(Index):
    """Annoy's forest of random projection trees (github.com/spotify/annoy), with what Annoy leaves unsaid checked."""

    @classmethod
    def build(
        cls,
        features: Features | np.ndarray,
        ids: Sequence[str] | None = None,
        *,
        metric: str = "angular",
        n_trees: int = 50,
        seed: int = 0,
        n_jobs: int = 1,
    ) -> AnnoyIndex:
        """An index of Features, or of any (N, D) array and its ids.

        n_trees: more trees find more of the true neighbours and take more disk.
        seed, n_jobs: one job gives the same forest for the same seed every time; several do not.
        """
        _check_annoy()
        for name, value in (("n_trees", n_trees), ("n_jobs", n_jobs)):
            if isinstance(value, bool) or int(value) != value or (value < 1 and not (name == "n_jobs" and value == -1)):
                raise QueryError(f"{name} must be a whole number from 1, not {value!r}")
        features = as_features(features, ids)
        index = cls(features, metric)
        index.n_trees, index.seed, index.n_jobs = int(n_trees), int(seed), int(n_jobs)
        index._annoy = annoy.AnnoyIndex(index.width, metric)
        index._annoy.set_seed(index.seed)
        for row, vector in enumerate(features.vectors):
            index._annoy.add_item(row, vector.tolist())  # Annoy reads a memory map a number at a time, slowly
        index._annoy.build(index.n_trees, index.n_jobs)
        return index

    def vector(self, id: str) -> np.ndarray:
        """The vector of a picture, (D,) float32."""
        return np.array(self._annoy.get_item_vector(row_of(self, id)), dtype=np.float32)

    def _nearest(self, query: int | np.ndarray, n: int, search_k: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        # Annoy's own default, n_trees * n, looks at so little for n = 1 that it is often not the first of n = 10
        # (spotify/annoy#215); one default for all n up to 100 makes short lists the beginning of long ones.
        search_k = search_k or self.n_trees * max(100, n)
        while True:
            if isinstance(query, np.ndarray):
                rows, distances = self._annoy.get_nns_by_vector(query, n, search_k, include_distances=True)
            else:
                rows, distances = self._annoy.get_nns_by_item(query, n, search_k, include_distances=True)
            # Too few nodes looked at give fewer than n neighbours, without a word.
            if len(rows) == n or search_k > 4 * self.n_trees * len(self):
                return np.array(rows), np.array(distances)
            search_k *= 4

    def recall(self, k: int = 10, *, sample: int = 200, seed: int = 0, **options) -> float:
        """The part of the true k nearest neighbours that this index finds, over a sample of its pictures.

        options: `search_k` as for `query`. Pictures at the distance of the k-th true neighbour count as found.
        """
        vectors = np.array([self._annoy.get_item_vector(row) for row in range(len(self))], dtype=np.float32)
        exact = ExactIndex.build(vectors, self.ids, metric=self.metric)
        ids = np.random.default_rng(seed).permutation(self.ids)[:sample]
        found = 0
        for id in ids:
            farthest = exact.query(str(id), k)["distance"].iloc[-1]
            found += int((self.query(str(id), k, **options)["distance"] <= farthest * (1 + 1e-5) + 1e-6).sum())
        return found / (k * len(ids))

    def save(self, path: str | os.PathLike) -> Path:
        """Write the forest (.ann) and the sidecar (.json) beside it, which says what it is of."""
        path = Path(path).with_suffix(".ann")

        def write(temporary: Path) -> None:
            self._annoy.save(str(temporary))
            self._annoy.unload()

        settings = {
            "n_trees": self.n_trees,
            "seed": self.seed,
            "n_jobs": self.n_jobs,
            "annoy": version("annoy"),
        }
        save_fitted(path.with_suffix(".npz"), self.makers)
        path = save_with_sidecar(path, write, {**settings, **self._sidecar()})
        self._annoy.load(str(path))
        return path

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> AnnoyIndex:
        """Open a saved index; it stays on disk (memory map). Refused where the sidecar does not fit the file.

        model: the record of your own network, for queries by a new picture.
        """
        _check_annoy()
        path, sidecar = open_sidecar(Path(path).with_suffix(".ann"), cls)
        index = cls.__new__(cls)
        for name in ("metric", "width", "n_trees", "seed", "n_jobs"):
            setattr(index, name, sidecar[name])
        index._restore(path, sidecar, model)
        index._annoy = annoy.AnnoyIndex(index.width, index.metric)
        try:
            index._annoy.load(str(path))
        except OSError as error:
            raise StoreError(f"{path} is damaged ({error}): build the index anew") from None
        if index._annoy.get_n_items() != len(index):
            raise StoreError(f"{path} and its sidecar do not belong together: build the index anew")
        return index


@lru_cache(maxsize=1)
def _check_annoy() -> None:
    """Some compilations of Annoy give one neighbour only, or wrong ones (spotify/annoy#679, #686): ask once."""
    vectors = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    trial = annoy.AnnoyIndex(8, "angular")
    for row, vector in enumerate(vectors):
        trial.add_item(row, vector)
    trial.build(10)
    units = unit(vectors)
    expected = np.argsort(-(units @ units[0]), kind="stable")[:10].tolist()
    if trial.get_nns_by_item(0, 10, 4000) != expected:
        raise AmulsearchError(
            "this compilation of annoy gives wrong neighbours: install it again from source without -ffast-math "
            "(ANNOY_COMPILER_ARGS=-O3,-std=c++14 pip install --no-binary :all: --force-reinstall annoy)"
        )
