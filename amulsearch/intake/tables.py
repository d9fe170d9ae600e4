"""Read a table of pictures with labels and keywords: a CSV file or a pandas table."""

from __future__ import annotations

import csv
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd

from ..errors import QueryError, check_path
from .names import ByName, fold_name
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
    rows, seen = _read(table, [path, *filter(None, (label, keywords))])
    if path not in rows:
        raise QueryError(f"the table has no column {path!r}: it has {seen}; set path=")
    labels, words, rejected = {}, {}, []
    files = cache(_by_form)
    for row in rows.to_dict("records"):
        id, reason = _inside(row[path], folder)
        id = id if reason else _on_disk(id, folder, files)
        if id in labels and not reason:
            reason = "the table lists it twice: only its first row is used"
        if reason:
            rejected.append({"id": id, "reason": reason})
            continue
        labels[id] = row.get(label)
        words[id] = _words(row.get(keywords), separator)
    columns = {"label": labels.get} | ({"keywords": words.get} if keywords in rows else {})
    return Listing(folder, sorted(labels), rejected, {}, columns)


def keywords_of(
    keywords: Mapping[str, str | Sequence[str]] | str | os.PathLike | pd.DataFrame,
) -> ByName:
    """The keywords by id that `keywords` stands for, see `Collection.from_folder`."""
    if not isinstance(keywords, Mapping):
        table = keywords if isinstance(keywords, pd.DataFrame) else check_path(keywords, "the path of the keywords")
        rows, seen = _read(table, ["path", "id", "keywords"])
        of = next((name for name in ("path", "id") if name in rows), None)
        if of is None or "keywords" not in rows:
            raise QueryError(f"the table of keywords needs the columns path (or id) and keywords, but has {seen}")
        keywords = dict(zip(map(_text, rows[of]), rows["keywords"], strict=True))
    return ByName({id: _words(value, ";") for id, value in keywords.items()}, [])


def separator_of(line: str, columns: Collection[str]) -> str:
    """Return what separates the columns of a CSV file: a comma, a semicolon or a tab, as spreadsheets write.

    Parameters
    ----------
    line : str
        The first line.
    columns : collection of str
        The names that it should have.

    Returns
    -------
    str
    """
    fields = {separator: next(csv.reader([line], delimiter=separator), []) for separator in ",;\t"}
    return max(fields, key=lambda separator: (len({*columns} & {*fields[separator]}), len(fields[separator])))


def _read(table: Path | pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, str]:
    """Those columns of a table that it has, and the names of all in words."""
    if isinstance(table, pd.DataFrame):
        return table, ", ".join(map(repr, table.columns))
    wanted = set(columns)
    if table.suffix.lower() not in (".csv", ".tsv"):
        raise QueryError(f"{table} is neither .csv nor .tsv: rename it, or read it with pandas and give the table")
    try:
        with table.open("rb") as file:
            how = {"encoding": "utf-16" if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"}
        with table.open(newline="", **how) as file:
            how |= {"sep": separator_of(file.readline(), wanted), "dtype": str, "keep_default_na": False}
        names = pd.read_csv(table, nrows=0, **how).columns
        rows = pd.read_csv(table, usecols=lambda name: name in wanted, **how)
    except (OSError, ValueError, csv.Error, pd.errors.ParserError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise QueryError(f"the table {table} cannot be read ({reason})") from None
    return rows, ", ".join(map(repr, names))


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


def _on_disk(id: str, folder: Path, files: Callable[[Path], Mapping[str, list[Path]]]) -> str:
    """The id as its file is named, where the table has another form of the name; files: see `_by_form`."""
    if os.path.lexists(folder / id):
        return id
    places = [folder]
    for part in id.split("/"):
        places = [path for place in places for path in files(place).get(fold_name(part), ())]
    return places[0].relative_to(folder).as_posix() if len(places) == 1 else id


def _by_form(folder: Path) -> dict[str, list[Path]]:
    """What is in a folder, by the folded names."""
    found: dict[str, list[Path]] = {}
    with suppress(OSError):
        for path in folder.iterdir():
            found.setdefault(fold_name(path.name), []).append(path)
    return found


def _text(value: object) -> str | None:
    return None if value is None or (not isinstance(value, (list, tuple)) and pd.isna(value)) else str(value) or None


def _words(value: object, separator: str) -> list[str]:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return []
    parts = value.split(separator) if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]
