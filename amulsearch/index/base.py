"""The methods that all indexes share. Opening a saved index and querying by id need neither torch nor matplotlib."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, MissingKeyError, QueryError, StoreError, check_integer, check_k, check_path
from ..features import (
    UNMEASURABLE,
    Features,
    Transform,
    Words,
    check_vectors,
    distances_to,
    encode,
    encode_each,
    measurable,
    nearest,
    open_fitted,
    opening_of,
    same_pictures,
    write_fitted,
)
from ..intake import open_alike
from ..models import Model
from ..store import AGAIN, Names, Store
from .calibration import Calibration
from .neighbours import neighbours

METRICS = ("angular", "euclidean", "manhattan")
TOGETHER = 2**24
"""How many values of vectors `all_neighbours` takes from the index at once."""
WITHOUT_MODEL = "the index was built from vectors without a model: query it by id or by vector"
ALONE = "index"
"""The name of an index that was saved by itself, in a store of names only."""


class Index:
    """The base class of every index. Row i of the index is the picture `ids[i]`.

    A subclass sets the class attributes below, provides `build`, and implements `_search`.

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
    calibration : Calibration or None
        What `measure.calibrate` returned, if you assign it; it is saved with the index.

    See Also
    --------
    AnnoyIndex, ExactIndex
    """

    ending: ClassVar[str]
    """The extension of the index file."""
    metrics: ClassVar[tuple[str, ...]] = METRICS
    settings: ClassVar[tuple[str, ...]] = ()
    """The attributes that are saved."""
    calibration: Calibration | None = None
    _spacings: Mapping[str, list[float]] = {}
    """What `spacing` returned, by its arguments; saved with the index."""
    effort: ClassVar[str | None] = None
    """The option of `query` that trades speed for recall; the attribute of the same name holds its default."""
    exhaustive: ClassVar[bool] = True
    """Whether the greatest effort misses nothing."""
    ladder: ClassVar[tuple[dict, ...]] = ({},)
    """The keyword arguments of `build` that `tune_index` tries."""

    def __init__(self, features: Features, metric: str):
        if metric not in self.metrics:
            raise QueryError(f"{type(self).__name__} has no metric {metric!r}: use one of {', '.join(self.metrics)}")
        check_vectors(features.vectors, features.ids, metric)
        self.metric = metric
        self.width = features.vectors.shape[1]
        self._pictures = Names(features.ids, features.labels)
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
    def ids(self) -> list[str]:
        """The N ids; of an index opened from disk, they are read when this is first used."""
        return self._pictures.ids

    @property
    def labels(self) -> list[str | None]:
        """The N labels, None for a picture without one."""
        return self._pictures.labels

    def _place(self, id: str) -> int | None:
        """The row of an id in the index, or None."""
        return self._pictures.place(id)

    def _names(self, rows: Sequence[int]) -> tuple[list[str], list[str | None]]:
        """The ids and the labels of these rows of the index."""
        return self._pictures.at(rows)

    def __len__(self) -> int:
        return len(self._pictures)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._place(id) is not None

    def __repr__(self) -> str:
        of = f"{self.fingerprint['model']} {self.fingerprint['layer']}" if self.fingerprint else "own vectors"
        return f"{type(self).__name__}({of}: {len(self):,} x {self.width}, {self.metric})"

    def query(self, query, k: int | None = None, *, include_self: bool = False, **options) -> pd.DataFrame:
        """Find the k nearest pictures.

        Parameters
        ----------
        query : str, path, PIL image, Words or ndarray of shape (D,)
            An id of the index, the path of a picture file, a picture (see `open_image`), words (see `Words`), or a
            vector.
        k : int, optional
            By default 10, or as many as there are.
        include_self : bool, default False
            Whether a picture of the index may be its own first neighbour.
        **options
            The search effort of an approximate index, in place of its default: `search_k` for Annoy, `nprobe` for
            FAISS IVF, `ef` for HNSW, `n_candidates` for FAISS LSH; see `build`. A greater effort is slower and
            misses fewer neighbours.

        Returns
        -------
        DataFrame with k rows
            Columns rank (from 1), id, distance, label, model, layer; nearest first. If the index has a calibration,
            a column probability after distance: how probable it is that the picture is relevant to the query.

        Raises
        ------
        QueryError
            For an unknown id, a vector of the wrong width, an unknown option, or k over the number of pictures.
        PictureError
            If the file cannot be read as a picture.
        """
        own = self._place(query) if isinstance(query, str) else None
        vector = self._as_vector(query) if own is None else self._take([own])[0]
        itself = None if own is None or include_self else np.array([own])
        (rows,), (distances,) = self.search(vector[None], k, own=itself, **options)
        made_by, (ids, labels) = self.fingerprint, self._names(rows.tolist())
        probability = self.calibration.probability(distances) if self.calibration else None
        return neighbours(ids, distances, labels, made_by.get("model"), made_by.get("layer"), probability=probability)

    def search(
        self, queries: np.ndarray, k: int | None = None, *, own: np.ndarray | None = None, **options
    ) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest pictures for each of many vectors.

        Everything else that an index answers is made of this.

        Parameters
        ----------
        queries : ndarray of shape (Q, D)
        k : int, optional
            By default 10, or as many as there are.
        own : ndarray of shape (Q,), int, optional
            For queries that are vectors of the index: the row of each, which is left out of its own neighbours.
        **options
            As for `query`.

        Returns
        -------
        rows : ndarray of shape (Q, k), int64
            `rows[i, j]` is the position in `ids` of the neighbour of rank j + 1.
        distances : ndarray of shape (Q, k), float64

        Raises
        ------
        QueryError
            For vectors of the wrong width, vectors that hold NaN or infinite values or are zero if the metric is
            angular, an unknown option, or k over the number of (other) pictures.
        """
        self._check_options(options)
        queries = self._checked(queries)
        if own is not None:
            own = np.asarray(own)
            whole = own.shape == queries.shape[:1] and own.dtype.kind in "iu"
            if not whole or ((own < 0) | (own >= len(self))).any():
                what = f"{len(queries)} integers from 0 to {len(self) - 1}"
                raise QueryError(f"own must hold the row in the index of each query: give {what}")
        k = check_k(k, len(self) - (own is not None), "pictures of the index" if own is None else "other pictures")
        return self._find(queries, k, own, options)

    def all_neighbours(self, k: int | None = None, **options) -> tuple[np.ndarray, np.ndarray]:
        """Find the k nearest other pictures of every picture.

        Parameters
        ----------
        k : int, optional
            By default 10, or as many as there are.
        **options
            As for `query`.

        Returns
        -------
        rows : ndarray of shape (N, k), int64
            `rows[i, j]` is the position in `ids` of the neighbour of rank j + 1 of `ids[i]`, as in `query(ids[i], k)`.
        distances : ndarray of shape (N, k), float64

        Raises
        ------
        QueryError
            For an unknown option, or k over the number of other pictures.
        """
        k, step = check_k(k, len(self) - 1, "other pictures"), max(1, TOGETHER // self.width)
        rows, distances = np.empty((len(self), k), dtype=np.int64), np.empty((len(self), k))
        for start in range(0, len(self), step):
            own = np.arange(start, min(start + step, len(self)))
            rows[own], distances[own] = self.search(self._take(own), k, own=own, **options)
        return rows, distances

    def similarities(self, rows: np.ndarray, k: int | None = None, **options) -> np.ndarray:
        """Compute the similarities of some pictures to the pictures that the index answers, as `evaluate` uses them.

        Parameters
        ----------
        rows : ndarray of shape (B,), int
        k : int, optional
            How many neighbours of each it answers: by default 10 if it is approximate, else all.
        **options
            As for `query`.

        Returns
        -------
        ndarray of shape (B, N), float64
            Negative distances, 0 to the picture itself, and -inf to those that are not among the k neighbours.

        Raises
        ------
        QueryError
            For an unknown option, or k over the number of other pictures.
        """
        rows = np.asarray(rows)
        if k is None:
            k = len(self) - 1 if self.effort is None else min(10, len(self) - 1)
        values = np.full((len(rows), len(self)), -np.inf)
        values[np.arange(len(rows)), rows] = 0
        if len(self) > 1:
            found, distances = self.search(self._take(rows), k, own=rows, **options)
            np.put_along_axis(values, found, -distances, axis=1)
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
        row = self._place(id)
        if row is None:
            raise MissingKeyError(f"there is no picture {id!r} in the index")
        return self._take([row])[0]

    def spacing(self, sample: int, seed: int = 0) -> np.ndarray:
        """Compute, once, how far each of some pictures is from its nearest other.

        Parameters
        ----------
        sample : int
            How many pictures: a random sample, or all if there are fewer.
        seed : int, default 0

        Returns
        -------
        ndarray of shape (S,), float64
            Distances, in the order of the rows of the pictures.
        """
        key = f"{sample} {seed}"
        if key not in self._spacings:
            rows = np.sort(sampled_rows(len(self), sample, seed))
            found = self.search(self._take(rows), 1, own=rows)[1][:, 0]
            self._spacings = {**self._spacings, key: found.tolist()}
        return np.array(self._spacings[key])

    def recall(self, k: int | None = None, *, sample: int = 200, seed: int = 0, **options) -> float:
        """Measure the fraction of the true k nearest neighbours that the index finds.

        Pictures as near as the k-th true neighbour count as found, up to rounding in float32.

        Parameters
        ----------
        k : int, optional
            By default 10, or as many as there are.
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
        rows = sampled_rows(len(self), sample, seed)
        vectors = self._take(rows)
        farthest = self._exact(vectors, k, rows)[1][:, -1]
        return float(self._found(vectors, self.search(vectors, k, own=rows, **options)[0], farthest).mean())

    def _found(self, queries: np.ndarray, rows: np.ndarray, farthest: np.ndarray) -> np.ndarray:
        """Which of the rows (Q, k) that were found for queries (Q, D) are at most this far away (Q,): (Q, k) bool.

        The distances are computed as those of exact search: the libraries' own are in float32. Libraries that compute
        a cosine in float32 cannot tell apart those that differ by 1e-6, so these count as equal.
        """
        distances, farthest = distances_to(_Vectors(self), queries, rows, self.metric), farthest[:, None]
        if self.metric == "angular":
            return distances**2 / 2 <= farthest**2 / 2 + 1e-6
        return distances <= farthest * (1 + 1e-5) + 1e-6

    def _check_options(self, options: Mapping) -> None:
        for name, value in options.items():
            if name != self.effort:
                hint = f"use {self.effort}" if self.effort else "it takes none"
                raise QueryError(f"{type(self).__name__} has no query option {name!r}: {hint}")
            if value is not None:
                _in_range(name, value)

    def _find(self, queries: np.ndarray, k: int, own: np.ndarray | None, options: Mapping) -> tuple:
        """`search`, with everything checked."""
        n = k + (own is not None)
        effort = self._effort(n, options.get(self.effort) or getattr(self, self.effort))
        rows, distances = self._search(queries, n, effort)
        short = np.flatnonzero(rows[:, -1] < 0)
        while len(short) and effort < self._most():
            effort = min(4 * effort, self._most())  # too small an effort finds fewer than n neighbours
            rows[short], distances[short] = self._search(queries[short], n, effort)
            short = short[rows[short, -1] < 0]
        if len(short):
            # Parts of a graph can be unreachable, for example among many equal pictures: compare every vector instead.
            rows[short], distances[short] = self._exact(queries[short], n)
        if own is None:
            return rows, distances
        others = np.argsort(rows == own[:, None], axis=1, kind="stable")[:, :k]
        return np.take_along_axis(rows, others, axis=1), np.take_along_axis(distances, others, axis=1)

    def _exact(self, queries: np.ndarray, k: int, own: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """What exact search finds: as `search`."""
        return nearest(_Vectors(self), queries, k, self.metric, own)

    def _effort(self, n: int, effort: int) -> int:
        """The effort to pass to the library for n neighbours."""
        return effort

    def _most(self) -> int:
        """The effort that searches everything."""
        return len(self)

    def _search(self, queries: np.ndarray, n: int, effort: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows (Q, n), int64, and distances (Q, n), float64, that the library finds for queries (Q, D), float32.

        Nearest first; at the end, rows of -1 if the effort is too small for n.
        """
        raise NotImplementedError

    def _take(self, rows: Sequence[int]) -> np.ndarray:
        """The vectors (B, D) float32 of these rows."""
        raise NotImplementedError

    def _as_vector(self, query) -> np.ndarray:
        if isinstance(query, (str, os.PathLike, Image.Image, Words)):
            query = encoded([self], query)[0]
        given = f"a {type(query).__name__}"
        if isinstance(query, np.ndarray):
            given = f"an array of {query.dtype} of shape {query.shape}"
        query = np.asarray(query)
        if query.dtype.kind not in "fiu" or query.shape != (self.width,):
            raise QueryError(f"a query must be one id, file, picture or vector of shape ({self.width},), not {given}")
        return query

    def _checked(self, queries: np.ndarray) -> np.ndarray:
        """Vectors to query with, (Q, D) float32."""
        queries = np.asarray(queries)
        if queries.dtype.kind not in "fiu" or queries.ndim != 2 or queries.shape[1] != self.width:
            given = f"{queries.dtype} of shape {queries.shape}"
            raise QueryError(f"queries must be an array of vectors, (Q, {self.width}), not {given}")
        queries = queries.astype(np.float32, copy=False)
        if not measurable(queries).all():
            raise QueryError(f"the query vector contains {UNMEASURABLE}: give finite numbers")
        if self.metric == "angular" and not queries.any(axis=1).all():
            raise QueryError("the query vector is zero and has no direction: give another vector")
        return queries

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
            raise QueryError(WITHOUT_MODEL)
        return encode(images, self.fingerprint, self.makers)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the index to a folder of its own, with its ids, its labels and what made it.

        Parameters
        ----------
        path : path
            The folder: a new one, or that of an index, which is replaced.

        Returns
        -------
        Path
            The folder, for `open`.

        Raises
        ------
        StoreError
            If the path is something else, or the files cannot be written; an index that was there is kept.
        """
        return self._save(path, self._write)

    def _save(self, path: str | os.PathLike, write: Callable[[Path], None]) -> Path:
        store = Store(path)
        new = not store.folder.exists()
        try:
            with store.lock():
                with store.database.transaction():
                    self._save_in(store, ALONE, store.name_only(self.ids, self.labels), write)
                store.indexes.tidy()
        except BaseException:
            if new:
                shutil.rmtree(store.folder, ignore_errors=True)
            raise
        return store.folder

    def save_in(self, store: Store, name: str) -> None:
        """Save the index in the store of its collection, in place of an earlier one of this name.

        Parameters
        ----------
        store : Store
            That holds the pictures of the index.
        name : str

        Raises
        ------
        StoreError
            If the store does not hold the pictures, or cannot be written to.
        """
        with store.lock():
            self._save_in(store, name, store.find(self.ids, self.digests), self._write)
            store.indexes.tidy()

    def _save_in(self, store: Store, name: str, rows: np.ndarray, write: Callable[[Path], None]) -> None:
        about = {**self._about(), "revision": store.revision}

        def write_all(folder: Path) -> None:
            write(folder / f"index{self.ending}")
            about["fitted"] = write_fitted(folder, [maker for maker in self.makers if isinstance(maker, Transform)])

        store.indexes.save(name, about, rows, write_all)

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
            If there is no index, it is damaged, or another class saved it.
        """
        if not (folder := check_path(path)).is_dir():
            what = "no folder of an index" if folder.exists() else "nothing there"
            raise StoreError(f"there is no index {path} ({what}): build one and save it there")
        return cls.open_in(Store(path), ALONE, model)

    @classmethod
    def open_in(cls, store: Store, name: str, model: Model | None = None) -> Index:
        """Open an index that `save_in` saved.

        Parameters
        ----------
        store : Store
        name : str
        model : Model, optional
            The record of your own network, for queries by new pictures.

        Returns
        -------
        Index
            Of the class on which it was called.

        Raises
        ------
        StoreError
            If there is no index of this name, it is damaged, or another class saved it.
        """
        saved = store.indexes.open(name)
        about, path = saved.about, saved.folder / f"index{cls.ending}"
        if about.get("kind") != cls.__name__:
            raise StoreError(f"{saved.folder} was saved by {about.get('kind')}: open it with that class")
        index = cls.__new__(cls)
        try:
            for setting in ("metric", "width", "fingerprint", *cls.settings):
                setattr(index, setting, about[setting])
            if about.get("calibration"):
                index.calibration = Calibration(**about["calibration"])
            index._spacings = about.get("spacings", {})
            index._pictures, index.digests = saved, []
            fitted = open_fitted(saved.folder, about["fitted"], index.fingerprint)
            index.makers = (*([model] if model else []), *fitted)
            shape = index._read(path)
        except AmulsearchError:
            raise
        except Exception as error:  # each library raises its own for a damaged file
            raise StoreError(f"{path} is damaged ({error}): {AGAIN}") from None
        if shape != (len(index), index.width):
            raise StoreError(f"{path} holds other vectors than its description says: {AGAIN}")
        return index

    def _write(self, path: Path) -> None:
        raise NotImplementedError

    def _read(self, path: Path) -> tuple[int, int]:
        """Read what `_write` wrote; the number of vectors and their width."""
        raise NotImplementedError

    def _about(self) -> dict:
        """What is saved with the index, as plain values."""
        return {
            **{name: getattr(self, name) for name in self.settings},
            "kind": type(self).__name__,
            "metric": self.metric,
            "width": self.width,
            "fingerprint": self.fingerprint,
            "calibration": self.calibration.plain() if self.calibration else None,
            "spacings": dict(self._spacings),
        }


def encoded(indexes: Sequence[Index], query) -> list[np.ndarray]:
    """Compute the vectors of a new picture, or of words, for several indexes, with one pass of each network.

    Parameters
    ----------
    indexes : sequence of P Index
    query : path, PIL image or Words

    Returns
    -------
    list of P ndarray of shape (D,), float32

    Raises
    ------
    QueryError
        If there is no such file, or an index was built from vectors without a model.
    """
    if not isinstance(query, (Image.Image, Words)) and not _is_file(query):
        raise MissingKeyError(f"{os.fspath(query)!r} is neither the id of a picture in the index nor a file")
    if not all(index.fingerprint for index in indexes):
        raise QueryError(WITHOUT_MODEL)
    found: dict[int, np.ndarray] = {}
    openings = [opening_of(index.fingerprint) for index in indexes]
    for place, opening in enumerate(openings):
        if place in found:
            continue
        picture = query if isinstance(query, (Image.Image, Words)) else open_alike(query, opening)
        places = [other for other, of in enumerate(openings) if of == opening]
        makers = [maker for place in places for maker in indexes[place].makers]
        vectors = encode_each([picture], [indexes[place].fingerprint for place in places], makers)
        found |= dict(zip(places, (each[0] for each in vectors), strict=True))
    return [found[place] for place in range(len(indexes))]


def _in_range(name: str, value: object, least: int = 1) -> int:
    """An integer that the libraries take."""
    if check_integer(name, value, least) >= 2**31:
        raise QueryError(f"{name} must be below 2**31, not {value!r}")
    return int(value)


def _is_file(path: str | os.PathLike) -> bool:
    try:
        return check_path(path).is_file()
    except OSError:  # too long a name
        return False


class _Vectors:
    """The vectors of an index, (N, D) float32, from which rows are taken as from an array."""

    def __init__(self, index: Index):
        self.shape, self._index = (len(index), index.width), index

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        return self._index._take(np.arange(len(self._index))[rows] if isinstance(rows, slice) else rows)


def as_indexes(parts: Sequence[Features | Index], kind: type[Index]) -> tuple[Index, ...]:
    """Parts of the same pictures as indexes: those of Features are built."""
    if not isinstance(parts, (list, tuple)):
        raise QueryError(f"give the parts in a list, each Features or an index, not {type(parts).__name__}")
    return tuple(same_pictures([part if isinstance(part, Index) else kind.build(part) for part in parts]))


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
