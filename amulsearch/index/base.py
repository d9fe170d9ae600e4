"""The methods that all indexes share. Opening a saved index and querying by id need neither torch nor matplotlib."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from ..errors import MissingKeyError, QueryError, check_integer, check_k
from ..features import Features, as_vectors, check_vectors, distances_to, nearest, others
from ..store import Names
from .persistence import Persistent


class Index(Persistent):
    """The base class of every index. Row i of the index is the picture `ids[i]`.

    The metric "angular" is the distance of the vectors scaled to length 1, sqrt(2 (1 - cos)), from 0 to 2.
    """

    metrics: ClassVar[tuple[str, ...]] = ("angular", "euclidean")
    settings = (*Persistent.settings, "metric", "spacings")
    search_k: int | None = None
    """How much a query searches by default, if the index is approximate."""
    spacings: Mapping[str, list[float]] = {}
    """What `spacing` returned, by the size of the sample."""

    def __init__(self, features: Features, metric: str):
        if metric not in self.metrics:
            raise QueryError(f"{type(self).__name__} has no metric {metric!r}: use one of {', '.join(self.metrics)}")
        check_vectors(features.vectors, features.ids, metric)
        self.metric = metric
        self.width = features.vectors.shape[1]
        self.pictures = Names(features.ids, features.labels)
        self.fingerprint, self.digests, self.makers = dict(features.fingerprint), features.digests, features.makers

    @classmethod
    def _start(cls, features, ids, metric: str, **settings) -> tuple[Index, np.ndarray]:
        """An index without vectors, its settings checked to be integers, and the vectors (N, D) to add."""
        features = as_features(features, ids)
        index = cls(features, metric)
        for name, value in settings.items():
            if (name, value) == ("n_jobs", -1):
                value = os.cpu_count()
            if value is not None:
                value = _in_range(name, value, least=0 if name == "seed" else 1)
            setattr(index, name, value)
        return index, features.vectors

    @property
    def parts(self) -> tuple[Index]:
        return (self,)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, {self.metric})"

    def rank(self, vectors, k=None, own=None, **options) -> tuple[np.ndarray, np.ndarray]:
        return self.search(vectors[0], k, own=own, **options)

    def search(
        self, queries: np.ndarray, k: int | None = None, *, own: np.ndarray | None = None, search_k: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest pictures for each of many vectors.

        Parameters
        ----------
        queries : ndarray of shape (Q, D)
        k : int, optional
            By default 10, or as many as there are.
        own : ndarray of shape (Q,), int, optional
            For queries that are vectors of the index: the row of each, which is left out of its own neighbours.
        search_k : int, optional
            How much an approximate index searches, in place of its default; see `build`.

        Returns
        -------
        rows : ndarray of shape (Q, k), int64
            The positions in `ids` of the neighbours, nearest first.
        distances : ndarray of shape (Q, k), float64
        """
        if search_k is not None:
            if not self.approximate:
                raise QueryError(f"{type(self).__name__} compares all vectors: it has no search_k")
            search_k = _in_range("search_k", search_k)
        queries = self.checked(queries)
        if own is not None:
            own = np.asarray(own)
            whole = own.shape == queries.shape[:1] and own.dtype.kind in "iu"
            if not whole or ((own < 0) | (own >= len(self))).any():
                what = f"{len(queries)} integers from 0 to {len(self) - 1}"
                raise QueryError(f"own must hold the row in the index of each query: give {what}")
        return self._find(queries, self._checked_k(k, own), own, search_k or self.search_k)

    def vector(self, id: str) -> np.ndarray:
        """Return the vector (D,) of a picture; unless the index is of Annoy, an angular one is scaled to length 1."""
        row = self.row(id)
        if row is None:
            raise MissingKeyError(f"there is no picture {id!r} in the index")
        return self.take([row])[0]

    def spacing(self, sample: int) -> np.ndarray:
        """The distance of each of some pictures from its nearest other, (S,) float64 by row: of a random sample, or of
        all if there are fewer. It is computed once, and saved with the index."""
        key = str(sample)
        if key not in self.spacings:
            rows = np.sort(sampled_rows(len(self), sample, 0))
            self.spacings = {**self.spacings, key: self.search(self.take(rows), 1, own=rows)[1][:, 0].tolist()}
        return np.array(self.spacings[key])

    def recall(self, k: int | None = None, *, sample: int = 200, search_k: int | None = None) -> float:
        """Measure the fraction, from 0 to 1, of the true k nearest neighbours that the index finds.

        Pictures as near as the k-th true neighbour count as found, up to rounding in float32.

        Parameters
        ----------
        k : int, optional
            By default 10, or as many as there are.
        sample : int, default 200
            How many pictures of the index are queried: a random sample, or all if there are fewer.
        search_k : int, optional
            As for `search`.
        """
        k = check_k(k, len(self) - 1, "other pictures")
        if not self.approximate:
            return 1.0
        own = sampled_rows(len(self), sample, 0)
        vectors = self.take(own)
        rows, _ = self.search(vectors, k, own=own, search_k=search_k)
        limit = nearest(_Vectors(self), vectors, k, self.metric, own)[1][:, -1:]
        distances = distances_to(_Vectors(self), vectors, rows, self.metric)
        if self.metric == "angular":  # cosines in float32, as the libraries compute them, differ by up to 1e-6
            near = distances**2 / 2 <= limit**2 / 2 + 1e-6
        else:
            near = distances <= limit * (1 + 1e-5) + 1e-6
        return float(near.mean())

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, search_k: int | None) -> tuple:
        """`search`, with everything checked."""
        n = k + (own is not None)
        effort = self._effort(n, search_k)
        rows, distances = self._search(queries, n, effort)
        short = np.flatnonzero(rows[:, -1] < 0)
        while len(short) and effort < self._most():
            effort = min(4 * effort, self._most())  # too small an effort finds fewer than n neighbours
            rows[short], distances[short] = self._search(queries[short], n, effort)
            short = short[rows[short, -1] < 0]
        if len(short):
            # Parts of a graph can be unreachable, for example among many equal pictures: compare every vector instead.
            rows[short], distances[short] = nearest(_Vectors(self), queries[short], n, self.metric)
        return (rows, distances) if own is None else others(rows, distances, own)

    def _effort(self, n: int, search_k: int | None) -> int:
        """The effort to pass to the library for n neighbours."""
        return max(search_k, n)

    def _most(self) -> int:
        """The effort that searches everything."""
        return len(self)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (Q, n), int64, and distances (Q, n), float64, that the library finds for queries (Q, D), float32.

        Nearest first; at the end, rows of -1 if the effort is too small for n.
        """
        raise NotImplementedError

    def take(self, rows: Sequence[int]) -> np.ndarray:
        """The vectors (B, D) float32 of these rows."""
        raise NotImplementedError

    def checked(self, queries: np.ndarray) -> np.ndarray:
        """Vectors to query with, (Q, D) float32."""
        queries = as_vectors(queries, self.width)
        if self.metric == "angular" and not queries.any(axis=1).all():
            raise QueryError("the query vector is zero and has no direction: give another vector")
        return queries


class _Vectors:
    """The vectors of an index, (N, D) float32, from which rows are taken as from an array."""

    def __init__(self, index: Index):
        self.shape, self._index = (len(index), index.width), index

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self._index.take(np.arange(len(self._index))[rows])


def _in_range(name: str, value: object, least: int = 1) -> int:
    """An integer that the libraries take."""
    if check_integer(name, value, least) >= 2**31:
        raise QueryError(f"{name} must be below 2**31, not {value!r}")
    return int(value)


def sampled_rows(count: int, sample: int, seed: int) -> np.ndarray:
    """At most `sample` of `count` rows, at random and in random order."""
    rng = np.random.default_rng(check_integer("seed", seed, least=0))
    return rng.permutation(count)[: check_integer("sample", sample)]


def as_features(features, ids) -> Features:
    """`features` itself, or Features of a plain array (N, D) and its ids."""
    if isinstance(features, Features):
        if ids is not None:
            raise QueryError("Features already have ids: give ids only with a plain array")
        return features
    if isinstance(features, Mapping):
        raise QueryError("an index is built from the features of one model and layer: choose features[model, layer]")
    if ids is None:
        raise QueryError("a plain array of vectors needs ids: give one id for each row")
    return Features(features, list(ids))
