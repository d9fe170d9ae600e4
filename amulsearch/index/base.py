"""The methods that all indexes share. Opening a saved index and querying by id need neither torch nor matplotlib."""

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
    """The base class of every index. Row i of the index is the picture `ids[i]`.

    A subclass sets the class attributes below, provides `build`, and implements `_nearest` or `_search`.

    Attributes
    ----------
    ids : list of N str
    labels : list of N str or None
    width : int
        The length D of a vector.
    metric : {"angular", "euclidean", "manhattan"}
        "angular" is the distance of the vectors scaled to length 1, sqrt(2 (1 - cos)), from 0 to 2.
    fingerprint : dict
        What made the vectors (model, layer, preprocessing, ...); empty for vectors of your own.

    See Also
    --------
    AnnoyIndex, ExactIndex
    """

    ending: ClassVar[str]
    """The extension of the index file."""
    metrics: ClassVar[tuple[str, ...]] = METRICS
    settings: ClassVar[tuple[str, ...]] = ()
    """The attributes that the sidecar stores."""
    effort: ClassVar[str | None] = None
    """The option of `query` that trades speed for recall; the attribute of the same name holds its default."""
    ladder: ClassVar[tuple[dict, ...]] = ({},)
    """The keyword arguments of `build` that `tune_index` tries."""

    def __init__(self, features: Features, metric: str):
        if metric not in self.metrics:
            raise QueryError(f"{type(self).__name__} has no metric {metric!r}: use one of {', '.join(self.metrics)}")
        check_vectors(features.vectors, features.ids, metric)
        self.metric = metric
        self.width = features.vectors.shape[1]
        self._describe(features.ids, features.labels, dict(features.fingerprint), features.content, features.makers)

    @classmethod
    def _start(cls, features, ids, metric: str, **settings) -> tuple[Index, np.ndarray]:
        """An index without vectors, its settings checked to be integers, and the vectors (N, D) to add."""
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
        """The row of each id; built on first use, so that opening an index is quick."""
        return {id: row for row, id in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._row

    def __repr__(self) -> str:
        of = f"{self.fingerprint['model']} {self.fingerprint['layer']}" if self.fingerprint else "own vectors"
        return f"{type(self).__name__}({of}: {len(self):,} x {self.width}, {self.metric})"

    def query(self, query, k: int = 10, *, include_self: bool = False, **options) -> pd.DataFrame:
        """Find the k nearest pictures.

        Parameters
        ----------
        query : str, path, PIL image or ndarray of shape (D,)
            An id of the index, the path of a picture file, a picture (see `open_image`), or a vector.
        k : int, default 10
        include_self : bool, default False
            Whether a picture of the index may be its own first neighbour.
        **options
            The search effort of an approximate index, in place of its default: `search_k` for Annoy, `nprobe` for
            FAISS IVF, `ef` for HNSW, `n_candidates` for FAISS LSH; see `build`. A greater effort is slower and
            misses fewer neighbours.

        Returns
        -------
        DataFrame with k rows
            Columns rank (from 1), id, distance, label, model, layer; nearest first.

        Raises
        ------
        QueryError
            For an unknown id, a vector of the wrong width, an unknown option, or k over the number of pictures.
        PictureError
            If the file cannot be read as a picture.
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
        """Compute the similarities of some pictures to all pictures, as `evaluate` uses them.

        Parameters
        ----------
        rows : ndarray of shape (B,), int

        Returns
        -------
        ndarray of shape (B, N), float64
            Negative distances; -inf for pictures that the index does not find.
        """
        values = np.full((len(rows), len(self)), -np.inf)
        for place, row in enumerate(np.asarray(rows).tolist()):
            found, distances = self._nearest(row, len(self))
            values[place, found] = -distances
        return values

    def vector(self, id: str) -> np.ndarray:
        """Return the vector of a picture.

        Parameters
        ----------
        id : str

        Returns
        -------
        ndarray of shape (D,), float32
            Scaled to length 1 if the metric is angular; `AnnoyIndex` returns the vector as it was given.

        Raises
        ------
        QueryError
            For an unknown id.
        """
        if id not in self:
            raise MissingKeyError(f"there is no picture {id!r} in the index")
        return self._take([self._row[id]])[0]

    def recall(self, k: int = 10, *, sample: int = 200, seed: int = 0, **options) -> float:
        """Measure the fraction of the true k nearest neighbours that the index finds.

        Neighbours at the distance of the k-th true neighbour count as found.

        Parameters
        ----------
        k : int, default 10
        sample : int, default 200
            How many pictures of the index are queried: a random sample, or all if there are fewer.
        seed : int, default 0
        **options
            As for `query`.

        Returns
        -------
        float
            From 0 to 1.

        Raises
        ------
        QueryError
            For an unknown option, or k over the number of other pictures.
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
                hint = f"use {self.effort}" if self.effort else "it takes none"
                raise QueryError(f"{type(self).__name__} has no query option {name!r}: {hint}")
            if value is not None:
                check_integer(name, value)

    def _nearest(self, query: int | np.ndarray, n: int, **options) -> tuple[np.ndarray, np.ndarray]:
        """Rows and distances (n,) of the nearest to a row of the index or to a vector (D,), nearest first."""
        effort = self._effort(n, options.get(self.effort) or getattr(self, self.effort))
        while True:
            rows, distances = self._search(query, n, effort)
            if len(rows) == n:
                return rows, distances
            if effort >= self._most():
                break
            effort = min(4 * effort, self._most())  # too small an effort finds fewer than n neighbours
        # Parts of a graph can be unreachable, for example among many equal pictures: compare every vector instead.
        rows, distances = nearest(self._blocks(), self._asked(query), n, self.metric)
        return rows[0], distances[0]

    def _asked(self, query: int | np.ndarray) -> np.ndarray:
        """The vector (1, D) of a query, scaled to length 1 if the metric is angular."""
        return compared(query[None] if isinstance(query, np.ndarray) else self._take([query]), self.metric)

    def _effort(self, n: int, effort: int) -> int:
        """The effort to pass to the library for n neighbours."""
        return effort

    def _most(self) -> int:
        """The effort that searches everything."""
        return len(self)

    def _search(self, query: int | np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """As `_nearest`, but possibly fewer than n if the effort is too small."""
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
        given = f"a {type(query).__name__}"
        if isinstance(query, np.ndarray):
            given = f"an array of {query.dtype} of shape {query.shape}"
        query = np.asarray(query)
        if query.dtype.kind not in "fiu" or query.shape != (self.width,):
            raise QueryError(f"a query must be one id, file, picture or vector of shape ({self.width},), not {given}")
        query = query.astype(np.float32)
        if not np.isfinite(query).all():
            raise QueryError("the query vector contains NaN or infinite values: give finite numbers")
        if self.metric == "angular" and not query.any():
            raise QueryError("the query vector is zero and has no direction: give another vector")
        return query

    def encode(self, images: list[Image.Image]) -> np.ndarray:
        """Compute the vectors of new pictures as those of the index were computed.

        Parameters
        ----------
        images : list of B PIL images

        Returns
        -------
        ndarray of shape (B, D), float32

        Raises
        ------
        QueryError
            If the index was built from a plain array of vectors.
        """
        if not self.fingerprint:
            raise QueryError("the index was built from vectors without a model: query it by id or by vector")
        return encode(images, self.fingerprint, self.makers)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the index, and beside it a JSON sidecar that describes its contents.

        Parameters
        ----------
        path : path
            The extension is replaced by that of the index (`ending`).

        Returns
        -------
        Path
            The path of the index file.

        Raises
        ------
        StoreError
            If the files cannot be written.
        """
        return self._save(path, self._write)

    def _save(self, path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
        path = Path(path).with_suffix(self.ending)
        fitted = [maker for maker in self.makers if isinstance(maker, Transform)]
        return save_with_sidecar(path, write, self._sidecar(), partial(write_fitted, fitted=fitted) if fitted else None)

    @classmethod
    def open(cls, path: str | os.PathLike, model: Model | None = None) -> Index:
        """Open a saved index.

        Parameters
        ----------
        path : path
            As given to `save`.
        model : Model, optional
            The record of your own network, for queries by new pictures.

        Returns
        -------
        Index
            Of the class on which `open` was called.

        Raises
        ------
        StoreError
            If the file is missing or damaged, or its sidecar belongs to another file.
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
        except Exception as error:  # each library raises its own for a damaged file
            raise StoreError(f"{path} is damaged ({error}): build the index again") from None
        if shape != (len(index), index.width) or len(index.labels) != len(index):
            raise StoreError(f"{path} and its sidecar do not belong together: build the index again")
        return index

    def _write(self, path: Path) -> None:
        raise NotImplementedError

    def _read(self, path: Path) -> tuple[int, int]:
        """Read what `_write` wrote; the number of vectors and their width."""
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
