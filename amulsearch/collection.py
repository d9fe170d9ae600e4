"""The first station: a folder of pictures becomes an ordered collection, a table of what is in and of what is not."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from .decoding import Request
from .errors import AmulsearchError, PictureError, QueryError
from .pictures import MAX_PIXELS, open_image
from .scan import scan_all, walk

COLUMNS = ["id", "label", "width", "height", "format", "frames", "bytes", "digest"]
TEXTS = ["id", "label", "format", "digest"]


@dataclass(frozen=True)
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
        folder = existing(folder)
        label_of = _labeller(labels)
        names, rejected, passed_over = walk(folder)
        opening = {"frame": frame, "background": background, "max_pixels": max_pixels}
        made = collected(folder, names, rejected, passed_over, {"label": label_of}, opening, progress)
        if isinstance(labels, (Mapping, pd.Series, pd.DataFrame)) and not any(made.labels):
            raise QueryError(f"the labels name none of the {len(made)} pictures: their ids look like {made.ids[0]!r}")
        return made

    @classmethod
    def from_table(cls, table: str | os.PathLike | pd.DataFrame, folder: str | os.PathLike | None = None, **options):
        """The pictures that a CSV or Parquet file names, see `tables.from_table`."""
        from .tables import from_table

        return from_table(table, folder, **options)

    @classmethod
    def from_danbooru(cls, folder: str | os.PathLike, **options) -> Collection:
        """A folder in the layout of the Danbooru data sets, see `danbooru.from_danbooru`."""
        from .danbooru import from_danbooru

        return from_danbooru(folder, **options)

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

    def __contains__(self, id: object) -> bool:
        return id in self._rows

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
            raise QueryError(f"no picture {id!r} in {self.folder}: ids are paths relative to that folder")
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
            raise QueryError(f"no picture {sorted(unknown)[0]!r} in {self.folder}")
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


def existing(folder: str | os.PathLike) -> Path:
    """The folder as a path; AmulsearchError where there is none."""
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise AmulsearchError(f"{folder} is not a folder: give the folder that holds the pictures")
    return folder


def collected(
    folder: Path,
    names: list[str],
    rejected: list[dict],
    passed_over: Mapping[str, int],
    about: Mapping[str, Callable[[str], object]],
    opening: Mapping,
    progress: bool,
) -> Collection:
    """The collection of the pictures with these names, scanned, in their order.

    about: "label", and further columns of the table -> a function of the id; opening: see `Collection`.
    """
    columns: dict[str, list] = {name: [] for name in dict.fromkeys([*COLUMNS, *about])}  # a row as an object is large
    known: dict[str | None, str | None] = {}  # what many rows have is kept once
    for row in scan_all(folder, names, opening["max_pixels"], progress):
        if "reason" in row:
            rejected.append(row)
            continue
        row |= {name: of(row["id"]) for name, of in about.items()}
        row |= {name: known.setdefault(row[name], row[name]) for name in ("label", "format")}
        for name, values in columns.items():
            values.append(row[name])
    table = plain_text(columns, TEXTS)
    rejected = plain_text(pd.DataFrame(sorted(rejected, key=lambda row: row["id"]), columns=["id", "reason"]))
    if table.empty:
        raise AmulsearchError(
            f"no picture in {folder} can be used: {len(rejected)} rejected"
            + "".join(f"; {row.id}: {row.reason}" for row in rejected.head(3).itertuples())
            + f"; {sum(passed_over.values())} other files passed over"
        )
    return Collection(folder.resolve(), table, rejected, passed_over, **opening)


def plain_text(columns: Mapping[str, list] | pd.DataFrame, texts=("id", "reason")) -> pd.DataFrame:
    """A table of these columns, with plain Python strings and None in those that are texts.

    pandas' own string type would turn None into NaN, and copy each string, what many rows share as well.
    """
    plain = dict(columns.items())
    for name in texts:
        values = [None if pd.isna(value) else str(value) for value in columns[name]]
        plain[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(plain)


def _labeller(labels) -> Callable[[str], str | None]:
    if labels is None:
        return lambda id: None
    if isinstance(labels, str):
        if labels != "folder":
            raise QueryError(f'labels={labels!r}: use "folder", None, a function, a mapping or a table')
        return lambda id: id.rpartition("/")[0] or None
    if callable(labels):
        return labels
    if isinstance(labels, pd.DataFrame):
        if not {"id", "label"} <= set(labels.columns):
            raise QueryError(f"the table of labels needs the columns id and label; it has {list(labels.columns)}")
        labels = dict(zip(labels["id"], labels["label"], strict=True))
    if isinstance(labels, (Mapping, pd.Series)):
        return dict(labels).get
    raise QueryError(
        f'labels cannot be a {type(labels).__name__}: use "folder", None, a function, a mapping or a table'
    )
