"""The verbs of every index. Opening a stored index and asking by id needs neither torch nor matplotlib."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, MissingKeyError, QueryError, StoreError, check_integer, check_k
from ..features import (
    Features,
    Transform,
    as_near,
    background_of,
    check_vectors,
    compared,
    encode,
    nearest,
    open_fitted,
    write_fitted,
)
from ..intake import open_image
from ..models import Model
from ..store import open_sidecar, save_with_sidecar, starts
from .neighbours import neighbours

METRICS = ("angular", "euclidean", "manhattan")


class Index:
    """The verbs that every index has. Rows of the index are the ids in their order.

    ids: N strings; labels: N strings or None; width: D; metric: one of `metrics`. "angular" is the distance of the
    vectors scaled to length 1, sqrt(2 (1 - cos)), from 0 to 2.

    A kind of index says what follows, makes `build`, and answers `_nearest` or `_search`.
    """

    ending: ClassVar[str]
    """Of its file."""
    metrics: ClassVar[tuple[str, ...]] = METRICS
    settings: ClassVar[tuple[str, ...]] = ()
    """The attributes that its sidecar keeps."""
    effort: ClassVar[str | None] = None
    """The option of `query`, and the attribute with its default, by which an answer is slower and misses less."""
    ladder: ClassVar[tuple[dict, ...]] = ({},)
    """The keyword arguments of `build` that `tune` tries."""

    def __init__(self, features: Features, metric: str):
        if metric not in self.metrics:
            raise QueryError(f"{type(self).__name__} has no metric {metric!r}: use one of {', '.join(self.metrics)}")
        check_vectors(features.vectors, features.ids, metric)
        self.metric = metric
        self.width = features.vectors.shape[1]
        self._describe(features.ids, features.labels, dict(features.fingerprint), features.content, features.makers)

    @classmethod
    def _start(cls, features, ids, metric: str, **settings) -> tuple[Index, np.ndarray]:
        """An index that knows of what it is, with whole numbers as its settings, and the vectors to fill it with."""
        features = as_features(features, ids)
        index = cls(features, metric)
        for name, value in settings.items():
            if (name, value) == ("n_jobs", -1):
                value = os.cpu_count()
            if value is not None:
                value = check_integer(name, value, least=0 if name == "seed" else 1)
            setattr(index, name, value)
        return index, features.vectors

    def _describe(self, ids, labels, fingerprint: dict, content: str, makers: Iterable) -> None:
        self.ids, self.labels, self.fingerprint, self.content = list(ids), list(labels), fingerprint, content
        self.makers = tuple(makers)

    @cached_property
    def _row(self) -> dict[str, int]:
        """Where each id is; made when the first is asked for, so that opening is quick."""
        return {id: row for row, id in enumerate(self.ids)}

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
        options: what lets an approximate index look longer and miss less, in place of its default: `search_k` of
            Annoy, `nprobe` of FAISS IVF, `ef` of every HNSW, `n_candidates` of FAISS LSH; see their `build`.

        Raises QueryError for an unknown id, a vector of the wrong width, and k over the number of pictures.
        """
        self._check_options(options)
        own = self._row.get(query) if isinstance(query, str) else None
        if own is None:
            query = self._as_vector(query)
        skip_self = own is not None and not include_self
        k = check_k(k, len(self) - skip_self, "other pictures" if skip_self else "pictures of the index")
        rows, distances = self._nearest(query if own is None else own, k + skip_self, **options)
        if skip_self:
            others = rows != own
            rows, distances = rows[others][:k], distances[others][:k]
        rows, made_by = rows.tolist(), self.fingerprint
        ids, labels = [self.ids[row] for row in rows], [self.labels[row] for row in rows]
        return neighbours(ids, distances, labels, made_by.get("model"), made_by.get("layer"))

    def similarities(self, rows: np.ndarray) -> np.ndarray:
        """How near every picture is to these, (B, N): negative distances, -inf for what the index does not find."""
        values = np.full((len(rows), len(self)), -np.inf)
        for place, row in enumerate(np.asarray(rows).tolist()):
            found, distances = self._nearest(row, len(self))
            values[place, found] = -distances
        return values

    def vector(self, id: str) -> np.ndarray:
        """The vector of a picture, (D,) float32; where the metric is angular scaled to length 1, save by Annoy."""
        if id not in self:
            raise MissingKeyError(f"no picture {id!r} in the index")
        return self._take([self._row[id]])[0]

    def recall(self, k: int = 10, *, sample: int = 200, seed: int = 0, **options) -> float:
        """The part of the true k nearest neighbours that this index finds, over a sample of its pictures.

        options: as for `query`. Pictures at the distance of the k-th true neighbour count as found.
        """
        self._check_options(options)
        k = check_k(k, len(self) - 1, "other pictures")
        rows = np.random.default_rng(seed).permutation(len(self))[: check_integer("sample", sample)]
        farthest = nearest(self._blocks(), self._take(rows), k, self.metric, own=rows)[1][:, -1]
        found = 0
        for own, limit in zip(rows.tolist(), farthest, strict=True):
            near, distances = self._nearest(own, k + 1, **options)
            found += int(as_near(distances[near != own][:k], limit).sum())
        return found / (k * len(rows))

    def _check_options(self, options: Mapping) -> None:
        for name, value in options.items():
            if name != self.effort:
                takes = f"takes {self.effort}" if self.effort else "has no options"
                raise QueryError(f"{type(self).__name__} {takes}, and does not know {name!r}")
            if value is not None:
                check_integer(name, value)

    def _nearest(self, query: int | np.ndarray, n: int, **options) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances of the n nearest to a row of the index or to a vector (D,), nearest first."""
        effort = self._effort(n, options.get(self.effort) or getattr(self, self.effort))
        while True:
            rows, distances = self._search(query, n, effort)
            if len(rows) == n:
                return rows, distances
            if effort >= self._most():
                break
            effort = min(4 * effort, self._most())  # too little looked at gives fewer than n neighbours
        # A graph can have parts that no edge leads to, as where many pictures are the same: every vector is compared.
        rows, distances = nearest(self._blocks(), self._asked(query), n, self.metric)
        return rows[0], distances[0]

    def _asked(self, query: int | np.ndarray) -> np.ndarray:
        """The vector (1, D) of a query as the metric compares it."""
        return compared(query[None] if isinstance(query, np.ndarray) else self._take([query]), self.metric)

    def _effort(self, n: int, effort: int) -> int:
        """What is asked of the library for n neighbours."""
        return effort

    def _most(self) -> int:
        """The effort at which nothing is left to look at."""
        return len(self)

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """As `_nearest`, and fewer than n where the effort does not reach so many."""
        raise NotImplementedError

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        """The vectors (B, D) float32 of these rows."""
        raise NotImplementedError

    def _blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        steps = starts(len(self), self.width)
        for start in steps:
            yield start, self._take(np.arange(start, min(start + steps.step, len(self))))

    def _as_vector(self, query) -> np.ndarray:
        if isinstance(query, (str, os.PathLike)):
            if not Path(query).expanduser().is_file():
                raise MissingKeyError(f"{os.fspath(query)!r} is neither the id of a picture in the index nor a file")
            query = open_image(Path(query).expanduser(), background=background_of(self.fingerprint))
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

    def save(self, path: str | os.PathLike) -> Path:
        """Write the index and the sidecar (.json) beside it, which says what it is of; the path of the index."""
        return self._save(path, self._write)

    def _save(self, path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
        path = Path(path).with_suffix(self.ending)
        fitted = [maker for maker in self.makers if isinstance(maker, Transform)]
        return save_with_sidecar(path, write, self._sidecar(), partial(write_fitted, fitted=fitted) if fitted else None)

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> Index:
        """Open a saved index. Refused where the sidecar does not fit the file, see sidecar.py for what is compared.

        model: the record of your own network, for queries by a new picture.
        """
        path, sidecar = open_sidecar(Path(path).with_suffix(cls.ending), cls)
        index = cls.__new__(cls)
        try:
            for name in ("metric", "width"):
                setattr(index, name, sidecar[name])
            for name in cls.settings:
                setattr(index, name, sidecar.get(name))
            makers = [model] if model else []
            makers += open_fitted(path.with_suffix(".npz"), sidecar["fingerprint"])
            index._describe(sidecar["ids"], sidecar["labels"], sidecar["fingerprint"], sidecar["content"], makers)
            shape = index._read(path)
        except AmulsearchError:
            raise
        except Exception as error:  # each library has its own for a damaged file
            raise StoreError(f"{path} is damaged ({error}): build the index anew") from None
        if shape != (len(index), index.width) or len(index.labels) != len(index):
            raise StoreError(f"{path} and its sidecar do not belong together: build the index anew")
        return index

    def _write(self, path: Path) -> None:
        raise NotImplementedError

    def _read(self, path: Path) -> tuple[int, int]:
        """Take what `_write` has written; how many vectors of which width these are."""
        raise NotImplementedError

    def _sidecar(self) -> dict:
        return {
            **{name: getattr(self, name) for name in self.settings},
            "kind": type(self).__name__,
            "metric": self.metric,
            "width": self.width,
            "fingerprint": self.fingerprint,
            "content": self.content,
            "ids": self.ids,
            "labels": self.labels,
        }


def as_features(features, ids) -> Features:
    if isinstance(features, Features):
        if ids is not None:
            raise QueryError("Features have their ids already: give ids only with a plain array")
        return features
    if ids is None:
        raise QueryError("a plain array of vectors needs its ids")
    return Features(features, list(ids))
