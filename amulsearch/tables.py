"""A collection from a table of paths, labels and keywords: a CSV or Parquet file, or one of pandas."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd

from .collection import Collection, collected, existing
from .errors import QueryError
from .optional import library
from .pictures import MAX_PIXELS


def from_table(
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
    path, label, keywords: names of its columns; the last two may be None or missing. Keywords are a list, or a string
        with `separator` between them.

    A file that is missing, named twice or no picture is listed in `rejected`. Raises QueryError for a table without
    the column of paths, and AmulsearchError where no picture can be used.
    """
    if isinstance(table, pd.DataFrame):
        if folder is None:
            raise QueryError("a table of pandas needs folder=, which its paths are relative to")
    else:
        table = Path(table).expanduser()
        folder = table.parent if folder is None else folder
    folder = existing(folder)
    rows = _read(table, [path, *filter(None, (label, keywords))])
    if path not in rows:
        raise QueryError(f"the table has no column {path!r}: it has {', '.join(map(repr, rows.columns))}; give path=")
    labels, words, rejected = {}, {}, []
    for row in rows.to_dict("records"):
        id, reason = _inside(row[path], folder)
        if id in labels and not reason:
            reason = "the table names it twice; its first row counts"
        if reason:
            rejected.append({"id": id, "reason": reason})
            continue
        labels[id] = _text(row.get(label))
        words[id] = _words(row.get(keywords), separator)
    about = {"label": labels.get}
    if keywords in rows:
        about["keywords"] = words.get
    opening = {"frame": frame, "background": background, "max_pixels": max_pixels}
    return collected(folder, sorted(labels), rejected, {}, about, opening, progress)


def _read(table: Path | pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    wanted = set(columns)
    try:
        if table.suffix.lower() == ".parquet":
            parquet = library("pyarrow.parquet", "pyarrow")
            names = [name for name in parquet.read_schema(table).names if name in wanted]
            return parquet.read_table(table, columns=names).to_pandas() if columns[0] in names else pd.DataFrame()
        if table.suffix.lower() == ".csv":
            return pd.read_csv(table, dtype=str, keep_default_na=False, usecols=lambda name: name in wanted)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise QueryError(f"the table {table} cannot be read ({reason})") from None
    raise QueryError(f"{table} is neither .csv nor .parquet: name it so, or read it with pandas and give that")


def _inside(value: object, folder: Path) -> tuple[str, str]:
    """The id of a path, and the reason why it is refused, empty where it is not."""
    text = _text(value)
    if text is None:
        return "", "a row without a path"
    try:
        relative = os.path.relpath(os.path.join(folder, text), folder)
    except ValueError:  # a zero byte
        return repr(text), "it is no path"
    id = Path(relative).as_posix()
    if id == ".." or id.startswith("../"):
        return text, f"it leads out of {folder}: put the picture into that folder, or give folder="
    return id, ""


def _text(value: object) -> str | None:
    return None if value is None or (not isinstance(value, (list, tuple)) and pd.isna(value)) else str(value) or None


def _words(value: object, separator: str) -> list[str]:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return []
    parts = value.split(separator) if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]
