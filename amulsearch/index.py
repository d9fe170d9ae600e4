"""The verbs of every index, and exact search: the reference that says how good an approximate answer is.

Opening a stored index and asking by id needs neither torch nor matplotlib.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .encoding import encode, open_fitted, save_fitted
from .errors import QueryError, StoreError
from .features import Features
from .record import Model
from .search import check_k, neighbours
from .sidecar import FORMAT, ids_digest, open_sidecar, save_with_sidecar

METRICS = ("angular", "euclidean", "manhattan")


class Index:
    """The verbs that every index has. Rows of the index are the ids in their order.

    ids: N strings; labels: N strings or None; width: D; metric: one of METRICS. "angular" is the distance of the
    vectors scaled to length 1, sqrt(2 (1 - cos)), from 0 to 2.
    """

    def __init__(self, features: Features, metric: str):
        if metric not in METRICS:
            raise QueryError(f"unknown metric {metric!r}: use one of {', '.join(METRICS)}")
        _check_vectors(features, metric)
        self.metric = metric
        self.width = features.vectors.shape[1]
        self._describe(features.ids, features.labels, dict(features.fingerprint), features.content, features.makers)

    def _describe(self, ids, labels, fingerprint: dict, content: str, makers: Iterable) -> None:
        self.ids, self.labels, self.fingerprint, self.content = list(ids), list(labels), fingerprint, content
        self.makers = tuple(makers)
        self._row = {id: row for row, id in enumerate(self.ids)}

    def _restore(self, path: Path, sidecar: dict, model: Model | None) -> None:
        """What the sidecar and the file of the fitted transforms beside it say."""
        makers = [model] if model else []
        makers += open_fitted(path.with_suffix(".npz"), sidecar["fingerprint"])
        self._describe(sidecar["ids"], sidecar["labels"], sidecar["fingerprint"], sidecar["content"], makers)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._row

    def __repr__(self) -> str:
        of = f"{self.fingerprint['model']} {self.fingerprint['layer']}" if self.fingerprint else "own vectors"
        return f"{type(self).__name__}({of}: {len(self):,} x {self.width}, {self.metric})"

    def query(self, query, k: int = 10, *, include_self: bool = False, **options) -> pd.DataFrame:
        """The k nearest pictures: rank (from 1), id, distance, label, model, layer.

        query: an id of the index, a picture (a PIL image, see `open_image`), or a vector (D,).
        include_self: whether a picture of the index may be its own first neighbour.
        options: `search_k` for Annoy: how many nodes to look at, by default n_trees * max(100, k + 1); more is
            slower and misses less.

        Raises QueryError for an unknown id, a vector of the wrong width, and k over the number of pictures.
        """
        own = query if isinstance(query, str) else None
        if own is None:
            query = self._as_vector(query)
        elif own not in self._row:
            raise QueryError(f"no picture {own!r} in the index; for a new picture give am.open_image(path)")
        skip_self = own is not None and not include_self
        k = check_k(k, len(self) - skip_self, "other pictures" if skip_self else "pictures of the index")
        rows, distances = self._nearest(self._row[own] if own is not None else query, k + skip_self, **options)
        if skip_self:
            others = rows != self._row[own]
            rows, distances = rows[others][:k], distances[others][:k]
        made_by = self.fingerprint
        return neighbours(
            [self.ids[row] for row in rows],
            distances,
            [self.labels[row] for row in rows],
            made_by.get("model"),
            made_by.get("layer"),
        )

    def _nearest(self, query: int | np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances of the n nearest to a row of the index or to a vector (D,), nearest first."""
        raise NotImplementedError

    def _as_vector(self, query) -> np.ndarray:
        if isinstance(query, Image.Image):
            query = self.encode([query])[0]
        query = np.asarray(query)
        if query.dtype.kind not in "fiu" or query.shape != (self.width,):
            raise QueryError(
                f"a query is an id, a picture or a vector of shape ({self.width},), not {query.dtype} {query.shape}"
            )
        query = query.astype(np.float32)
        if not np.isfinite(query).all():
            raise QueryError("the query vector holds NaN or infinite values")
        if self.metric == "angular" and not query.any():
            raise QueryError("the query vector is zero: it has no angle to any other")
        return query

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """The vectors (B, D) float32 of new pictures, made as those of the index were."""
        if not self.fingerprint:
            raise QueryError("the index is of vectors without a model: ask by id or by vector")
        return encode(images, self.fingerprint, self.makers)

    def _sidecar(self) -> dict:
        return {
            "format": FORMAT,
            "kind": type(self).__name__,
            "metric": self.metric,
            "width": self.width,
            "fingerprint": self.fingerprint,
            "content": self.content,
            "ids_digest": ids_digest(self.ids),
            "ids": self.ids,
            "labels": self.labels,
        }


class ExactIndex(Index):
    """Every vector compared with the query (numpy): slower on large collections, and never wrong."""

    @classmethod
    def build(cls, features: Features | np.ndarray, ids: Sequence[str] | None = None, *, metric: str = "angular"):
        """An index of Features, or of any (N, D) array and its ids."""
        return cls(as_features(features, ids), metric)

    def __init__(self, features: Features, metric: str):
        super().__init__(features, metric)
        self._vectors = unit(features.vectors) if metric == "angular" else features.vectors

    @cached_property
    def _squares(self) -> np.ndarray:
        """The squared lengths of the vectors, (N,)."""
        return np.einsum("nd,nd->n", self._vectors, self._vectors)

    def vector(self, id: str) -> np.ndarray:
        """The vector of a picture, (D,) float32; scaled to length 1 where the metric is angular."""
        return np.array(self._vectors[row_of(self, id)])

    def _nearest(self, query: int | np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(query, np.ndarray):
            query = self._vectors[query]
        elif self.metric == "angular":
            query = unit(query[None])[0]
        if self.metric == "manhattan":
            distances = np.abs(self._vectors - query).sum(axis=1, dtype=np.float64)
            near = np.argsort(distances, kind="stable")[:n]
            return near, distances[near]
        # |a - b|^2 = |a|^2 - 2ab + |b|^2 in float32 finds the candidates; their distances are then computed in float64
        squares = self._squares - 2 * (self._vectors @ query)
        near = np.sort(np.argpartition(squares, min(n + 16, len(squares)) - 1)[: n + 16])
        differences = self._vectors[near].astype(np.float64) - query
        distances = np.sqrt(np.einsum("nd,nd->n", differences, differences))
        order = np.argsort(distances, kind="stable")[:n]
        return near[order], distances[order]

    def all_neighbours(self, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest other pictures of every picture at once: rows (N, k) int64 and distances (N, k) float64.

        `rows[i, j]` is the place in `ids` of the neighbour of rank j + 1 of `ids[i]`: what `query(ids[i], k)` says,
        without a table for each.

        Raises QueryError where k is over the number of other pictures.
        """
        k = check_k(k, len(self) - 1, "other pictures")
        rows, distances = np.empty((len(self), k), dtype=np.int64), np.empty((len(self), k))
        vectors = self._vectors.astype(np.float64)
        squares = np.einsum("nd,nd->n", vectors, vectors)
        scale = squares.max() or 1.0
        for start in range(0, len(self), 256):
            own = np.arange(start, min(start + 256, len(self)))
            if self.metric == "manhattan":
                far = np.array([np.abs(self._vectors - self._vectors[row]).sum(1, dtype=np.float64) for row in own])
            else:
                far = np.maximum(squares[own, None] - 2 * (vectors[own] @ vectors.T) + squares, 0)  # (B, N)
                far = np.sqrt((far / scale).round(13) * scale)  # equal pictures at equal distances, ordered by row
            far[np.arange(len(own)), own] = np.inf
            near = np.sort(np.argpartition(far, min(k + 15, len(self) - 2), axis=1)[:, : k + 16], axis=1)
            order = np.argsort(np.take_along_axis(far, near, axis=1), axis=1, kind="stable")[:, :k]
            rows[own] = np.take_along_axis(near, order, axis=1)
            distances[own] = np.take_along_axis(far, rows[own], axis=1)
        return rows, distances

    def save(self, path: str | os.PathLike) -> Path:
        """Write the vectors (.npy) and the sidecar (.json) beside them."""
        path = Path(path).with_suffix(".npy")

        def write(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.save(file, self._vectors)

        save_fitted(path.with_suffix(".npz"), self.makers)
        return save_with_sidecar(path, write, self._sidecar())

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> ExactIndex:
        """Open a saved index; the vectors stay on disk (memory map)."""
        path, sidecar = open_sidecar(Path(path).with_suffix(".npy"), cls)
        index = cls.__new__(cls)
        index.metric, index.width = sidecar["metric"], sidecar["width"]
        index._restore(path, sidecar, model)
        try:
            index._vectors = np.load(path, mmap_mode="r")
        except ValueError as error:
            raise StoreError(f"{path} is damaged ({error}): build the index anew") from None
        if index._vectors.shape != (len(index), index.width):
            raise StoreError(f"{path} and its sidecar do not belong together: build the index anew")
        return index


def as_features(features, ids) -> Features:
    if isinstance(features, Features):
        if ids is not None:
            raise QueryError("Features have their ids already: give ids only with a plain array")
        return features
    if ids is None:
        raise QueryError("a plain array of vectors needs its ids")
    return Features(features, list(ids))


def _check_vectors(features: Features, metric: str) -> None:
    """Annoy takes NaN without a word and puts it at a distance of 1.414."""
    if not len(features):
        raise QueryError("there are no vectors to index")
    finite = np.isfinite(features.vectors).all(axis=1)
    if not finite.all():
        id = features.ids[int(np.argmin(finite))]
        raise QueryError(
            f"{(~finite).sum()} vectors hold NaN or infinite values, the first is of {id!r}: leave them out"
        )
    zero = ~features.vectors.any(axis=1)
    if metric == "angular" and zero.any():
        id = features.ids[int(np.argmax(zero))]
        raise QueryError(f"{zero.sum()} vectors are zero and have no angle, the first is of {id!r}: leave them out")


def unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, dtype=np.float32)
    return vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True).astype(np.float32)


def row_of(index: Index, id: str) -> int:
    if id not in index:
        raise QueryError(f"no picture {id!r} in the index")
    return index._row[id]
