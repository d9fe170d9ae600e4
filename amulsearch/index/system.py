"""What answers a query: the base class of indexes, fusions and diffusions."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import MissingKeyError, QueryError, check_k, check_path
from ..features import Words, encode, opening_of
from ..intake import open_image
from ..store import Names
from .probability import Calibration

BLOCK = 2**24
"""How many values of vectors, or of similarities, are in memory at once."""


class System:
    """Ranks the pictures of a collection for a query.

    A query needs its vector in each of the system's `parts`: an index has itself as its only part, a fusion or a
    diffusion those of all networks and layers that it combines. `calibration` is what `calibrate` returned, if you
    assign it.
    """

    quantity: ClassVar[str] = "distance"
    """The column of a table that says how good a neighbour is: "distance", or "score", of which more is better."""
    approximate: bool = False
    """Whether it may miss neighbours."""
    title: tuple[object, object] = (None, None)
    """What the columns model and layer of a table say."""
    parts: tuple[System, ...] = ()
    together: int = 128
    """How many queries are ranked at once."""
    calibration: Calibration | None = None
    pictures: Names
    """The ids and labels; of a system opened from disk, they are read when they are first used."""

    @property
    def ids(self) -> list[str]:
        """The N ids, in the order of the rows."""
        return self.pictures.ids

    @property
    def labels(self) -> list[str | None]:
        """The N labels, None for a picture without one."""
        return self.pictures.labels

    def __len__(self) -> int:
        return len(self.pictures)

    def row(self, id: str) -> int | None:
        """The row of an id, or None."""
        return self.pictures.place(id)

    def query(self, query, k: int | None = None, **options) -> pd.DataFrame:
        """Find the k nearest pictures.

        Parameters
        ----------
        query : str, path, PIL image, Words or ndarray of shape (D,)
            An id of the collection, the path of a picture file, a picture (see `open_image`), words (see `Words`), or a
            vector; of a system with several parts, a list with a vector for each.
        k : int, optional
            By default 10, or as many as there are.
        **options
            search_k: how much an approximate index searches, in place of its default; see `build`.

        Returns
        -------
        DataFrame with k rows
            Columns rank (from 1), id, distance or score, label, model, layer; nearest first. With a calibration, also
            probability: how probable it is that the picture is relevant. Fewer rows if a fusion lists fewer.

        Raises
        ------
        QueryError
            For an unknown id, a vector of the wrong width, or k over the number of pictures.
        """
        row = self.row(query) if isinstance(query, str) else None
        vectors = query_vectors(self.parts, query) if row is None else [part.take([row]) for part in self.parts]
        return self.answer(vectors, k, row, **options)

    def answer(self, vectors: Sequence[np.ndarray], k: int | None = None, row: int | None = None, **options):
        """The table of `query`, for the vectors (1, D) of a query in each part, and its row if it has one."""
        (rows,), (values,) = self.rank(vectors, k, None if row is None else np.array([row]), **options)
        return self.table(rows, values)

    def table(self, rows: np.ndarray, values: np.ndarray, **columns: np.ndarray) -> pd.DataFrame:
        """A table of neighbours from their rows (k,), -1 for none, and their distances or scores (k,)."""
        there = rows >= 0
        rows, values = rows[there], values[there]
        columns = {name: column[there] for name, column in columns.items()}
        probability = {"probability": self.calibration.probability(values)} if self.calibration else {}
        ids, labels = self.pictures.at(rows.tolist())
        return neighbours(ids, labels, {self.quantity: values, **probability}, columns, *self.title)

    def rank(
        self, vectors: Sequence[np.ndarray], k: int | None = None, own: np.ndarray | None = None, **options
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows (Q, k) int64, best first, and their distances or scores (Q, k) float64, for queries by their vectors
        (Q, D) in each part; own (Q,): the rows of queries that are pictures of the collection, which are left out."""
        k, count = self._checked_k(k, own), len(vectors[0])
        rows, values = np.empty((count, k), dtype=np.int64), np.empty((count, k))
        for start in range(0, count, self.together):
            some = slice(start, start + self.together)
            mine = None if own is None else own[some]
            rows[some], values[some] = self._rank([vector[some] for vector in vectors], k, mine, options)
        return rows, values

    def _rank(self, vectors, k: int, own, options: Mapping) -> tuple[np.ndarray, np.ndarray]:
        """`rank` of at most `together` queries."""
        raise NotImplementedError

    def _checked_k(self, k: int | None, own: np.ndarray | None) -> int:
        what = "pictures of the collection" if own is None else "other pictures"
        return check_k(k, len(self) - (own is not None), what)

    def scores(self, vectors: Sequence[np.ndarray], own: np.ndarray | None = None, k: int | None = None) -> np.ndarray:
        """The similarities (Q, N) float64 of queries to the k pictures that are answered, by default all, and -inf to
        the others; parameters as for `rank`."""
        values = np.full((len(vectors[0]), len(self)), -np.inf)
        most = len(self) - (own is not None)
        if most:
            rows, answers = self.rank(vectors, min(k or most, most), own)
            query, place = np.nonzero(rows >= 0)
            answers = answers[query, place]
            values[query, rows[query, place]] = answers if self.quantity == "score" else -answers
        return values

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
            The positions in `ids` of the neighbours of `ids[i]`, nearest first; -1 for no neighbour.
        values : ndarray of shape (N, k), float64
            Distances or scores.
        """
        k, count = check_k(k, len(self) - 1, "other pictures"), len(self)
        rows, values = np.empty((count, k), dtype=np.int64), np.empty((count, k))
        step = max(1, BLOCK // max(sum(part.width for part in self.parts), k))
        for start in range(0, count, step):
            own = np.arange(start, min(start + step, count))
            rows[own], values[own] = self.rank([part.take(own) for part in self.parts], k, own, **options)
        return rows, values

    def similarities(self, rows: np.ndarray, k: int | None = None) -> np.ndarray:
        """Return the similarities (B, N) float64 of pictures by their rows (B,) to the k pictures that are answered, by
        default all: scores or negative distances, inf to the picture itself, -inf to those that are not answered."""
        rows = np.asarray(rows)
        values = self.scores([part.take(rows) for part in self.parts], rows, k)
        values[np.arange(len(rows)), rows] = np.inf
        return values


class NewPicture:
    """A picture that is not in the collection, or words in its place, and its vectors as far as they are computed."""

    def __init__(self, image: str | os.PathLike | Image.Image | Words, name: str = ""):
        self.image, self.name = image, name
        self._vectors: dict[System, np.ndarray] = {}
        self._lock = Lock()

    def vectors(self, parts: Sequence[System]) -> list[np.ndarray]:
        """The vectors (1, D) in each part, with one pass of each network for those that are missing."""
        with self._lock:
            missing = [part for part in dict.fromkeys(parts) if part not in self._vectors]
            if missing:
                self._vectors |= _vectors(missing, self.image)
            return [self._vectors[part] for part in parts]


def query_vectors(parts: Sequence[System], query) -> list[np.ndarray]:
    """The vectors (1, D) in each part of a query that is no picture of the collection, with one pass of each network.

    A query is a path, a PIL image, `Words`, a `NewPicture`, or vectors (D,), of several parts in a list.
    """
    if isinstance(query, (str, os.PathLike, Image.Image, Words)):
        query = NewPicture(query)
    if isinstance(query, NewPicture):
        return query.vectors(parts)
    several = isinstance(query, (list, tuple)) and any(np.ndim(vector) for vector in query)
    vectors = query if several else [query]
    if len(vectors) != len(parts):
        raise QueryError(f"a query must have a vector for each of the {len(parts)} parts, not {len(vectors)}")
    for part, vector in zip(parts, vectors, strict=True):
        if np.shape(vector) != (part.width,):
            what = f"a {type(vector).__name__} of shape {np.shape(vector)}"
            raise QueryError(f"a query must be one id, file, picture or vector of shape ({part.width},), not {what}")
    return [part.checked(np.asarray(vector)[None]) for part, vector in zip(parts, vectors, strict=True)]


def _vectors(parts: Sequence[System], image: str | os.PathLike | Image.Image | Words) -> dict[System, np.ndarray]:
    """The vectors (1, D) of a picture or of words by part, with one pass of each network."""
    file = isinstance(image, (str, os.PathLike))
    if file and not _is_file(image):
        raise MissingKeyError(f"{os.fspath(image)!r} is neither the id of a picture in the index nor a file")
    if not all(part.fingerprint for part in parts):
        raise QueryError("the index was built from vectors without a model: query it by id or by vector")
    by_opening: dict[tuple, list[System]] = {}
    for part in parts:
        by_opening.setdefault(tuple(opening_of(part.fingerprint).items()), []).append(part)
    vectors: dict[System, np.ndarray] = {}
    for opening, some in by_opening.items():
        picture = open_image(image, **dict(opening)) if file else image
        makers = [maker for part in some for maker in part.makers]
        each = encode(picture, [part.fingerprint for part in some], makers)
        vectors |= {part: part.checked(vector) for part, vector in zip(some, each, strict=True)}
    return vectors


def _is_file(path: str | os.PathLike) -> bool:
    try:
        return check_path(path).is_file()
    except OSError:  # too long a name
        return False


def check_same(systems: Sequence[System]) -> None:
    """Refuse systems of different pictures."""
    if not systems:
        raise QueryError("there is nothing to combine: give at least one system")
    first, *others = [part for system in systems for part in system.parts]
    for part in others:
        known = part.digests and first.digests
        if not part.pictures.same(first.pictures) or (known and part.digests != first.digests):
            raise QueryError("the systems are not of the same pictures in the same order")


def neighbours(
    ids: Sequence[str],
    labels: Sequence[str | None],
    values: Mapping[str, np.ndarray],
    more: Mapping[str, np.ndarray],
    model: object = None,
    layer: object = None,
) -> pd.DataFrame:
    """A table of neighbours, best first: rank (from 1), id, the values, label, more columns, model, layer."""
    rows = pd.RangeIndex(len(ids))  # one index for all columns, so that nothing is aligned
    columns = {
        "rank": np.arange(1, len(ids) + 1),
        "id": pd.Series(ids, rows, dtype=object),
        **values,
        "label": pd.Series(labels, rows, dtype=object),
        **more,
        "model": pd.Series([model] * len(ids), rows, dtype=object),
        "layer": pd.Series([layer] * len(ids), rows, dtype=object),
    }
    return pd.DataFrame(columns, rows, copy=False)
