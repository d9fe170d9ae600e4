"""Read a table of pictures with labels and keywords: a CSV file, a Parquet file or a pandas table."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from ..errors import QueryError, check_path, import_optional
from .scan import Listing, existing_folder


def read_table(
    table: str | os.PathLike | pd.DataFrame,
    folder: str | os.PathLike | None,
    path: str,
    label: str | None,
    keywords: str | None,
    separator: str,
) -> Listing:
    """List the pictures of a table, with its labels and keywords; see `Collection.from_table`."""
    if isinstance(table, pd.DataFrame):
        if folder is None:
            raise QueryError("a pandas table needs folder=, the folder that its paths are relative to")
    else:
        table = check_path(table, "the path of the table")
        folder = table.parent if folder is None else folder
    folder = existing_folder(folder)
    rows = _read(table, [path, *filter(None, (label, keywords))])
    if path not in rows:
        raise QueryError(f"the table has no column {path!r}: it has {', '.join(map(repr, rows.columns))}; set path=")
    labels, words, rejected = {}, {}, []
    for row in rows.to_dict("records"):
        id, reason = _inside(row[path], folder)
        if id in labels and not reason:
            reason = "the table lists it twice: only its first row is used"
        if reason:
            rejected.append({"id": id, "reason": reason})
            continue
        labels[id] = _text(row.get(label))
        words[id] = _words(row.get(keywords), separator)
    columns = {"label": labels.get} | ({"keywords": words.get} if keywords in rows else {})
    return Listing(folder, sorted(labels), rejected, {}, columns)


def keywords_of(
    keywords: Mapping[str, str | Sequence[str]] | str | os.PathLike | pd.DataFrame,
) -> Callable[[str], list[str]]:
    """The function from id to keywords that `keywords` stands for, see `Collection.from_folder`."""
    if not isinstance(keywords, Mapping):
        table = keywords if isinstance(keywords, pd.DataFrame) else check_path(keywords, "the path of the keywords")
        rows = _read(table, ["path", "id", "keywords"])
        of = next((name for name in ("path", "id") if name in rows), None)
        if of is None or "keywords" not in rows:
            has = ", ".join(map(repr, rows.columns)) or "none of them"
            raise QueryError(f"the table of keywords needs the columns path (or id) and keywords, but has {has}")
        keywords = dict(zip(map(_text, rows[of]), rows["keywords"], strict=True))
    return lambda id: _words(keywords.get(id), ";")


def _read(table: Path | pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    if isinstance(table, pd.DataFrame):
        return table
    wanted = set(columns)
    try:
        if table.suffix.lower() == ".parquet":
            parquet = import_optional("pyarrow.parquet", "pyarrow")
            names = [name for name in parquet.read_schema(table).names if name in wanted]
            return parquet.read_table(table, columns=names).to_pandas() if columns[0] in names else pd.DataFrame()
        if table.suffix.lower() == ".csv":
            return pd.read_csv(table, dtype=str, keep_default_na=False, usecols=lambda name: name in wanted)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise QueryError(f"the table {table} cannot be read ({reason})") from None
    raise QueryError(f"{table} is neither .csv nor .parquet: rename it, or read it with pandas and give the table")


def _inside(value: object, folder: Path) -> tuple[str, str]:
    """The id of a path and the reason for its rejection, "" if there is none."""
    text = _text(value)
    if text is None:
        return "", "a row without a path"
    try:
        relative = os.path.relpath(os.path.join(folder, text), folder)
    except ValueError:  # a zero byte
        return repr(text), "not a valid path"
    id = Path(relative).as_posix()
    if id == ".." or id.startswith("../"):
        return text, f"it leads out of {folder}: move the picture into that folder, or set folder="
    return id, ""


def _text(value: object) -> str | None:
    return None if value is None or (not isinstance(value, (list, tuple)) and pd.isna(value)) else str(value) or None


def _words(value: object, separator: str) -> list[str]:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return []
    parts = value.split(separator) if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]
