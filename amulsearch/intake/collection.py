"""The `Collection`: the pictures of a folder in a fixed order, and the files that were rejected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from sys import intern

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, MissingKeyError, PictureError, QueryError
from .decoding import Request, decode
from .labels import labeller
from .pictures import MAX_PIXELS, file_digest, opening
from .scan import Listing, counts_text, existing_folder, list_folder, scan_all
from .spelling import ByName
from .tables import keywords_of, list_table

COLUMNS = ["id", "label", "width", "height", "format", "frames", "bytes", "digest"]
"""The columns that the table of every collection has."""

MOVED = "if it was moved, index it where it is now with the same store: no vector is computed again"
"""What to do if the folder of a collection is not there."""


@dataclass(frozen=True, eq=False)
class Collection:
    """An ordered set of pictures below one folder.

    `from_folder` and `from_table` make collections. Iterating yields the ids. `collection[id]` opens a picture;
    `collection[:10]` and `collection[ids]` return the collection of those pictures only. An id may be given in another
    Unicode form, or with plain spaces.

    Attributes
    ----------
    folder : Path
        The folder that holds the pictures.
    table : DataFrame of N rows
        Sorted by id. Columns: id (path relative to `folder`, with forward slashes), label (str or None), width and
        height (pixels, as displayed), format, frames, bytes, digest (SHA-256) and, if known, keywords (list of str).
    rejected : DataFrame
        The files that look like a picture but cannot be used. Columns: id, reason.
    passed_over : mapping of str to int
        Number of entries that were not considered, by kind ("hidden", "not a picture: .txt", ...).
    frame, background, max_pixels
        How pictures are opened, see `open_image`.
    part : bool
        Whether these are only some pictures of a scanned collection: they do not replace the table of a store.

    Examples
    --------
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
    >>> len(birds)
    44
    >>> birds["crow_01.webp"].size
    (226, 320)
    """

    folder: Path
    table: pd.DataFrame
    rejected: pd.DataFrame
    passed_over: Mapping[str, int] = field(default_factory=dict)
    frame: int = 0
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    part: bool = False
    _inside: dict[Path, bool] = field(default_factory=dict, init=False, repr=False)
    """Whether folders of pictures lie in the folder of the collection: resolving one takes 0.1 ms."""

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike,
        *,
        labels: str | None | Callable[[str], object] | Mapping[str, object] = "folder",
        keywords: Mapping[str, str | Sequence[str]] | str | os.PathLike | pd.DataFrame | None = None,
        frame: int = 0,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> Collection:
        """Scan a folder and all folders below it.

        Each file is read and digested, but only its header is decoded, in separate processes: a file that crashes or
        hangs the decoder is rejected. `passed_over` counts what is left out: what is hidden, links to folders, folders
        of a system, files that are no pictures by their names and first bytes, and names in `labels` and `keywords`
        that no picture has. HEIC pictures need pillow-heif.

        Parameters
        ----------
        folder : path
            The folder with the pictures.
        labels : "folder", None, callable or mapping, default "folder"
            The folder of each picture, relative to `folder`; nothing; a function of the id; or a mapping from id to
            label.
        keywords : mapping, path or DataFrame, optional
            A mapping from id to a list of words or to words joined by ";", or a .csv file or a pandas table with the
            columns path (or id) and keywords.
        frame, background, max_pixels
            How pictures are opened, see `open_image`.
        progress : bool, default True

        Examples
        --------
        >>> import amulsearch as am
        >>> food = am.Collection.from_folder("data/openclipart/food", progress=False)
        >>> len(food), food.labels[-2:]
        (316, ['vegetables', None])
        """
        folder, how = existing_folder(folder), opening(frame, background, max_pixels)
        columns = {"label": labeller(labels)}
        if keywords is not None:
            columns["keywords"] = keywords_of(keywords)
        return cls._scanned(list_folder(folder, columns), progress, how)

    @classmethod
    def from_table(
        cls,
        table: str | os.PathLike | pd.DataFrame,
        folder: str | os.PathLike | None = None,
        *,
        frame: int = 0,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> Collection:
        """Scan the pictures that a table lists, with its labels and keywords.

        A row whose file is missing, is not a picture, lies outside `folder` or has been listed before is in `rejected`.

        Parameters
        ----------
        table : path or DataFrame
            A .csv file with commas, semicolons or tabs, or a pandas table. Columns: path (or id), and label and
            keywords if they are known; the keywords of a picture are a list or words joined by ";".
        folder : path, optional
            The folder that the paths are relative to; by default that of the file, required for a DataFrame.
        frame, background, max_pixels
            How pictures are opened, see `open_image`.
        progress : bool, default True
        """
        how = opening(frame, background, max_pixels)
        return cls._scanned(list_table(table, folder), progress, how)

    @classmethod
    def _scanned(cls, listing: Listing, progress: bool, how: Mapping) -> Collection:
        """The collection of the pictures of a listing, in its order; how: its `opening`."""
        columns: dict[str, list] = {name: [] for name in dict.fromkeys([*COLUMNS, *listing.columns])}
        rejected = list(listing.rejected)
        for row in scan_all(listing, how["max_pixels"], progress):
            if "reason" in row:
                rejected.append(row)
                continue
            row["format"] = intern(row["format"])
            for name, value_of in listing.columns.items():
                row[name] = value_of(row["id"])
            for name, values in columns.items():
                values.append(row[name])
        table = plain_text(columns)
        rejected = plain_text(pd.DataFrame(sorted(rejected, key=lambda row: row["id"]), columns=["id", "reason"]))
        passed_over = dict(listing.passed_over)
        if table.empty:
            reasons = "".join(f"; {row.id}: {row.reason}" for row in rejected.head(3).itertuples())
            others = counts_text(passed_over) or "none"
            why = f"{len(rejected)} rejected{reasons}; other files: {others}"
            raise AmulsearchError(f"no picture in {listing.folder} can be used: {why}")
        for name, value_of in listing.columns.items():
            if not isinstance(value_of, ByName):
                continue
            if not any(table[name]):
                example = table["id"].iat[0]
                raise QueryError(f"{name}: none is of a picture; name the pictures by their ids, such as {example!r}")
            if count := value_of.unmatched([*table["id"], *rejected["id"]]):
                passed_over[f"{name} of no picture"] = count
        return cls(listing.folder.resolve(), table, rejected, passed_over, **how)

    @property
    def keywords(self) -> dict[str, list[str]]:
        """The keywords of each picture by id; QueryError if the collection was made without keywords."""
        if "keywords" not in self.table:
            give = "give Collection.from_folder a table of them (keywords=), or use Collection.from_table"
            raise QueryError(f"this collection has no keywords: {give}")
        return dict(zip(self.table["id"], self.table["keywords"], strict=True))

    @property
    def ids(self) -> list[str]:
        """The N ids in the order of the table."""
        return self.table["id"].tolist()

    @property
    def labels(self) -> list[str | None]:
        """The N labels in the order of the ids; None for a picture without one."""
        return self.table["label"].tolist()

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the ids in order."""
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self._row_of[id] is not None

    def __getitem__(self, key: str | slice | Sequence[str]) -> Image.Image | Collection:
        """Open the picture of an id as RGB; for a slice or a list of ids, return the collection of those pictures."""
        if isinstance(key, str):
            return self.open(key)
        if isinstance(key, slice):
            return self.subset(self.ids[key])
        if isinstance(key, (int, np.integer)):
            raise QueryError(f"pictures are selected by id: use collection[collection.ids[{key}]] or a slice")
        return self.subset(key)

    def __repr__(self) -> str:
        counts = f"{len(self):,} pictures, {self.table['label'].nunique()} labels, {len(self.rejected):,} rejected"
        return f"Collection({str(self.folder)!r}: {counts})"

    @property
    def opening(self) -> dict:
        """How pictures are opened: a dict of frame, background and max_pixels."""
        return {"frame": self.frame, "background": self.background, "max_pixels": self.max_pixels}

    @cached_property
    def _row_of(self) -> ByName:
        return ByName({id: row for row, id in enumerate(self.table["id"])})

    def _entry(self, id: str) -> tuple[str, str]:
        """The id of a picture as its file is named, and its digest."""
        row = self._row_of[id]
        if row is None:
            raise MissingKeyError(f"no picture {id!r} in {self.folder}: ids are paths relative to that folder")
        return self.table["id"].iat[row], self.table["digest"].iat[row]

    def path(self, id: str) -> Path:
        """The path of a picture's file; QueryError if a folder on it is a link that leads out of the collection."""
        path = self.folder / self._entry(id)[0]
        if path.parent not in self._inside:
            self._inside[path.parent] = path.parent.resolve().is_relative_to(self.folder.resolve())
        if not self._inside[path.parent]:
            raise QueryError(f"{id!r} leads out of {self.folder} through a link: replace the link with the folder")
        return path

    def open(self, id: str, side: int | None = None) -> Image.Image:
        """Open a picture as RGB, with the collection's frame, background and pixel limit.

        A separate process decodes it. PictureError if the file is missing, crashes or hangs the decoder, or has changed
        since the folder was scanned. side: pixels that the shorter side must keep: a large JPEG may then be decoded at
        a reduced size.
        """
        request = self.request(id, side)
        (picture,) = decode([request])
        if isinstance(picture, PictureError):
            there = os.path.isdir(self.folder)  # noqa: PTH112 - is_dir raises where a folder above cannot be read
            reason = picture if there else f"{self.folder} is not there; {MOVED}"
            raise PictureError(f"{request.path} cannot be opened: {reason}")
        return Image.fromarray(picture.rgb)

    def request(self, id: str, side: int | None = None) -> Request:
        """The `Request` with which `decode` opens a picture as `open` does."""
        return Request(str(self.path(id)), self._entry(id)[1], **self.opening, side=side)

    def changed(self, ids: Iterable[str]) -> dict[str, str]:
        """Say which pictures have other files than those that were indexed, or none; each file is read.

        For each id whose file is another one: "missing", "changed since it was indexed", or why it cannot be read.
        """
        states = {}
        for id in ids:
            path = self.path(id)
            try:
                if not path.is_file():
                    states[id] = "missing"
                elif file_digest(path) != self._entry(id)[1]:
                    states[id] = "changed since it was indexed"
            except OSError as error:
                states[id] = f"cannot be read: {error.strerror or error}"
        return states

    def ids_of(self, path: str | os.PathLike) -> list[str]:
        """The ids that a file would have, if the collection held it: none, one, or that of a link and of its target."""
        places = Path(os.path.realpath(Path(path).parent), Path(path).name), Path(os.path.realpath(path))
        ids = [place.relative_to(self.folder).as_posix() for place in places if place.is_relative_to(self.folder)]
        return list(dict.fromkeys(self._entry(id)[0] if id in self else id for id in ids))

    def subset(self, ids: Iterable[str]) -> Collection:
        """Return the collection of these pictures only, in the order of the table; MissingKeyError for an unknown id.

        The ids may be in any order, and repeated ones count once.
        """
        rows = sorted(self._row_of[self._entry(id)[0]] for id in set(ids))
        table = self.table.iloc[rows].reset_index(drop=True)
        return replace(self, table=table, part=self.part or len(table) < len(self))

    def sample(self, n: int, seed: int = 0) -> list[str]:
        """Return the ids of a random sample of n pictures, all if there are fewer, in the order of the table."""
        rows = np.random.default_rng(seed).permutation(len(self))[:n]
        return self.table["id"].iloc[np.sort(rows)].tolist()

    def choose(self, ids: Sequence[str]) -> list[str]:
        """Return these ids if the collection has all of them, else as many others at random, repeated if it has fewer.

        Examples
        --------
        >>> import amulsearch as am
        >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
        >>> birds.choose(["crow_01.webp"])
        ['crow_01.webp']
        >>> len(birds[:2].choose(["a dog", "a cat", "a duck"]))
        3
        """
        if all(id in self for id in ids):
            return list(ids)
        others = self.sample(len(ids))
        return [others[place % len(others)] for place in range(len(ids))]

    def duplicates(self) -> pd.DataFrame:
        """Find files with identical bytes: a DataFrame with the columns group (int, from 1), id, label, digest."""
        same = self.table[self.table["digest"].duplicated(keep=False)].sort_values(["digest", "id"])
        group = same["digest"].factorize()[0] + 1
        return same.assign(group=group)[["group", "id", "label", "digest"]].reset_index(drop=True)


def plain_text(columns: Mapping[str, list] | pd.DataFrame) -> pd.DataFrame:
    """A table whose columns id, label, format, digest and reason hold Python strings and None: the string type of
    pandas would turn None into NaN and copy every string, even those that many rows share."""
    plain = dict(columns.items())
    for name in plain.keys() & {"id", "label", "format", "digest", "reason"}:
        values = [None if pd.isna(value) else str(value) for value in plain[name]]
        plain[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(plain)
