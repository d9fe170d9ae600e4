"""The first station: a folder of pictures becomes an ordered collection, a table of what is in and of what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Collection as Names
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from ..errors import AmulsearchError, MissingKeyError, PictureError, QueryError
from .danbooru import SAFE, read_danbooru
from .decoding import Request
from .pictures import MAX_PIXELS, open_image
from .scan import Listing, existing_folder, labeller, scan_all, walk
from .tables import read_table

COLUMNS = ["id", "label", "width", "height", "format", "frames", "bytes", "digest"]
TEXTS = ["id", "label", "format", "digest"]


@dataclass(frozen=True, eq=False)
class Collection:
    """An ordered set of pictures below one folder.

    folder: where the pictures are.
    table: one row a picture, sorted by id: id (path relative to the folder, forward slashes), label (str or None),
        width and height in pixels as displayed, format, frames, bytes (file size), digest (SHA-256 of the file);
        keywords (a list of strings) where they are known.
    rejected: one row for each file that looks like a picture and cannot be used: id, reason.
    passed_over: how many files were not looked at, by kind ("hidden", "not a picture: .txt", ...).
    frame, background, max_pixels: how pictures are opened, see `open_image`; an animation with fewer frames than
        `frame` gives its last.
    """

    folder: Path
    table: pd.DataFrame
    rejected: pd.DataFrame
    passed_over: Mapping[str, int] = field(default_factory=dict)
    frame: int = 0
    background: str = "white"
    max_pixels: int = MAX_PIXELS

    @classmethod
    def from_folder(
        cls,
        folder: str | os.PathLike,
        *,
        labels: str | None | Callable[[str], str | None] | Mapping[str, str] | pd.DataFrame = "folder",
        frame: int = 0,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> Collection:
        """Scan a folder and all folders below it. Headers are opened and files digested; no pixels are decoded.

        That happens in the processes of `decoding`: a file that crashes or hangs the reader of its header is rejected.

        labels: "folder" (the folder that holds the picture, relative to `folder`), None, a function of the id, a
            mapping id -> label, or a table with the columns id and label.

        Raises AmulsearchError where there is no such folder or no picture in it.
        """
        folder = existing_folder(folder)
        names, rejected, passed_over = walk(folder)
        listing = Listing(folder, names, rejected, passed_over, {"label": labeller(labels)})
        made = cls._scanned(listing, progress, frame=frame, background=background, max_pixels=max_pixels)
        if isinstance(labels, (Mapping, pd.Series, pd.DataFrame)) and not any(made.labels):
            raise QueryError(f"the labels name none of the {len(made)} pictures: their ids look like {made.ids[0]!r}")
        return made

    @classmethod
    def from_table(
        cls,
        table: str | os.PathLike | pd.DataFrame,
        folder: str | os.PathLike | None = None,
        *,
        path: str = "path",
        label: str | None = "label",
        keywords: str | None = "keywords",
        separator: str = ";",
        frame: int = 0,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> Collection:
        """The pictures that a table names, in the order of their ids, with its labels and keywords.

        table: a .csv or .parquet file (this needs pyarrow), or a pandas table.
        folder: what the paths are relative to; by default the folder of the file. Paths that lead out of it are refused.
        path, label, keywords: names of its columns; the last two may be None or missing. Keywords are a list, or a
            string with `separator` between them.

        A file that is missing, named twice or no picture is listed in `rejected`. Raises QueryError for a table without
        the column of paths, and AmulsearchError where no picture can be used.
        """
        listing = read_table(table, folder, path, label, keywords, separator)
        return cls._scanned(listing, progress, frame=frame, background=background, max_pixels=max_pixels)

    @classmethod
    def from_danbooru(
        cls,
        folder: str | os.PathLike,
        *,
        pictures: str | None = None,
        metadata: str | os.PathLike | None = None,
        ratings: Names[str] = SAFE,
        keywords: Sequence[str] = ("general", "character", "copyright"),
        label: str | None = "copyright",
        frame: int = 0,
        background: str = "white",
        max_pixels: int = MAX_PIXELS,
        progress: bool = True,
    ) -> Collection:
        """The pictures of a Danbooru folder whose rating is allowed, with their tags as keywords.

        pictures: the folder with the pictures below `folder`; by default "512px" where there is one, else "original".
        metadata: the file of JSON lines, or a folder of such files; by default `folder`/metadata or metadata.json. It is
            read line by line, and only of pictures that are there something is kept.
        ratings: which are let in; by default safe ones only. Pictures without a rating are never let in.
        keywords: the categories of tags that become keywords, of general, artist, copyright, character, meta.
        label: the category whose tag is the label where a picture has exactly one, or None.

        Ids are paths below the folder of pictures, "0001/1001.jpg". What a rating keeps out is counted in `passed_over`;
        a picture that no metadata names is in `rejected`. For measures by tags: `Relevance.from_keywords`.
        """
        listing = read_danbooru(folder, pictures, metadata, ratings, keywords, label, progress)
        return cls._scanned(listing, progress, frame=frame, background=background, max_pixels=max_pixels)

    @classmethod
    def _scanned(cls, listing: Listing, progress: bool, **opening) -> Collection:
        """The collection of the pictures of a listing, each scanned, in their order; opening: see `Collection`."""
        columns: dict[str, list] = {name: [] for name in dict.fromkeys([*COLUMNS, *listing.columns])}
        known: dict[str | None, str | None] = {}  # a string that many rows share is kept once
        rejected = list(listing.rejected)
        for row in scan_all(listing.folder, listing.names, opening["max_pixels"], progress):
            if "reason" in row:
                rejected.append(row)
                continue
            row |= {name: of(row["id"]) for name, of in listing.columns.items()}
            row |= {name: known.setdefault(row[name], row[name]) for name in ("label", "format")}
            for name, values in columns.items():
                values.append(row[name])
        table = plain_text(columns, TEXTS)
        rejected = plain_text(pd.DataFrame(sorted(rejected, key=lambda row: row["id"]), columns=["id", "reason"]))
        if table.empty:
            raise AmulsearchError(
                f"no picture in {listing.folder} can be used: {len(rejected)} rejected"
                + "".join(f"; {row.id}: {row.reason}" for row in rejected.head(3).itertuples())
                + f"; {sum(listing.passed_over.values())} other files passed over"
            )
        return cls(listing.folder.resolve(), table, rejected, listing.passed_over, **opening)

    @property
    def keywords(self) -> dict[str, list[str]]:
        """id -> keywords, for `Relevance.from_keywords`; QueryError where the pictures came without."""
        if "keywords" not in self.table:
            raise QueryError("this collection has no keywords: Collection.from_table and from_danbooru read them")
        return dict(zip(self.table["id"], self.table["keywords"], strict=True))

    @property
    def ids(self) -> list[str]:
        """The ids in order, (N,)."""
        return self.table["id"].tolist()

    @property
    def labels(self) -> list[str | None]:
        """The labels in the order of the ids, (N,)."""
        return self.table["label"].tolist()

    def __len__(self) -> int:
        return len(self.table)

    def __iter__(self) -> Iterator[str]:
        """The ids in order."""
        return iter(self.ids)

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and id in self._rows

    def __getitem__(self, key: str | slice | Sequence[str]) -> Image.Image | Collection:
        """The picture of an id, opened as RGB; of a slice or a list of ids, the collection of those pictures only."""
        if isinstance(key, str):
            return self.open(key)
        if isinstance(key, slice):
            return self.subset(self.ids[key])
        if isinstance(key, (int, np.integer)):
            raise QueryError(f"a picture is named by its id: use collection[collection.ids[{key}]], or a slice")
        return self.subset(key)

    def __eq__(self, other: object) -> bool:
        """Whether both have the same pictures with the same labels in the same folder, opened in the same way."""
        if not isinstance(other, Collection):
            return NotImplemented
        how = ("folder", "frame", "background", "max_pixels")
        return all(getattr(self, name) == getattr(other, name) for name in how) and self.table.equals(other.table)

    __hash__ = None

    def __repr__(self) -> str:
        kinds = self.table["label"].nunique()
        return (
            f"Collection({str(self.folder)!r}: {len(self):,} pictures, {kinds} labels, {len(self.rejected):,} rejected)"
        )

    @property
    def _rows(self) -> dict[str, int]:
        # A frozen dataclass without slots: the dictionary is made once, on first use.
        if "_row_of" not in self.__dict__:
            self.__dict__["_row_of"] = {id: row for row, id in enumerate(self.table["id"])}
        return self.__dict__["_row_of"]

    def _row(self, id: str) -> int:
        if id not in self._rows:
            raise MissingKeyError(f"no picture {id!r} in {self.folder}: ids are paths relative to that folder")
        return self._rows[id]

    def path(self, id: str) -> Path:
        """Where the picture lies. Refused where a folder on the way is a link out of the collection's folder."""
        self._row(id)
        path = self.folder / id
        if not path.parent.resolve().is_relative_to(self.folder.resolve()):
            raise QueryError(f"{id!r} leads out of {self.folder} by a link: replace the link by the folder itself")
        return path

    def open(self, id: str) -> Image.Image:
        """Open a picture of the collection as RGB, at the collection's frame, background and pixel limit."""
        path, how = self.path(id), {"background": self.background, "max_pixels": self.max_pixels}
        try:
            return open_image(path, frame=self._frame(id), **how)
        except PictureError as error:
            raise PictureError(f"{path} cannot be opened: {error}; if it has changed, index the folder again") from None

    def request(self, id: str, side: int | None = None) -> Request:
        """What `decode` needs to open a picture as `open` does; side: see `pictures.open_for`."""
        path, digest = str(self.folder / id), self.table["digest"].iat[self._row(id)]
        return Request(path, digest, self._frame(id), self.background, self.max_pixels, side)

    def _frame(self, id: str) -> int:
        return min(self.frame, int(self.table["frames"].iat[self._rows[id]]) - 1)

    def id_of(self, path: str | os.PathLike) -> str | None:
        """The id of a file of this collection, or None where the path is not one of it."""
        path = Path(path)
        # The picture itself may be a link: by its place in the folder it is found first, then by what it leads to.
        for place in (lambda: path.parent.resolve() / path.name, path.resolve):
            try:
                id = place().relative_to(self.folder).as_posix()
            except (ValueError, OSError, RuntimeError):  # RuntimeError: links that lead to each other
                continue
            if id in self:
                return id
        return None

    def subset(self, ids) -> Collection:
        """The same collection with these pictures only, in the order of the table."""
        wanted = set(ids)
        unknown = wanted - set(self.table["id"])
        if unknown:
            raise MissingKeyError(f"no picture {min(unknown, key=str)!r} in {self.folder}")
        return replace(self, table=self.table[self.table["id"].isin(wanted)].reset_index(drop=True))

    def sample(self, n: int, seed: int = 0) -> list[str]:
        """Ids of n pictures at random (all if there are fewer), the same for the same seed, in order."""
        rows = np.random.default_rng(seed).permutation(len(self))[:n]
        return self.table["id"].iloc[np.sort(rows)].tolist()

    def duplicates(self) -> pd.DataFrame:
        """The files whose bytes are the same as another's: group, id, label, digest."""
        same = self.table[self.table["digest"].duplicated(keep=False)].sort_values(["digest", "id"])
        group = same["digest"].factorize()[0] + 1
        return same.assign(group=group)[["group", "id", "label", "digest"]].reset_index(drop=True)


def plain_text(columns: Mapping[str, list] | pd.DataFrame, texts=("id", "reason")) -> pd.DataFrame:
    """A table of these columns, with plain Python strings and None in those that are texts.

    pandas' own string type would turn None into NaN, and copy each string, what many rows share as well.
    """
    plain = dict(columns.items())
    for name in texts:
        values = [None if pd.isna(value) else str(value) for value in columns[name]]
        plain[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(plain)
