"""Read a table of pictures with labels and keywords: a CSV file or a pandas table."""

import csv
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import pandas as pd

from ..errors import QueryError, check_path, first_line
from .labels import keyword_list, label_text
from .scan import Listing, existing_folder, leads_out
from .spelling import ByName, fold_name


def list_table(table: str | os.PathLike | pd.DataFrame, folder: str | os.PathLike | None) -> Listing:
    """The pictures of a table, with its labels and keywords; see `Collection.from_table`."""
    if folder is None:
        if isinstance(table, pd.DataFrame):
            raise QueryError("a pandas table needs folder=, the folder that its paths are relative to")
        folder = check_path(table, "the path of the table").parent
    folder, rows = existing_folder(folder), _read(table, ["label", "keywords"])
    labels, words, rejected = {}, {}, []
    by_form = cache(_by_form)
    for row in rows.to_dict("records"):
        id, reason = _inside(row["path"], folder)
        if not reason:
            id = _on_disk(id, folder, by_form)
            reason = "the table lists it twice: only its first row is used" if id in labels else ""
        if reason:
            rejected.append({"id": id, "reason": reason})
        else:
            labels[id] = label_text(row.get("label"))
            words[id] = keyword_list(row.get("keywords"))
    columns = {"label": labels.get} | ({"keywords": words.get} if "keywords" in rows else {})
    return Listing(folder, sorted(labels), rejected, {}, columns)


def keywords_of(keywords: Mapping | str | os.PathLike | pd.DataFrame) -> ByName:
    """The keywords by id that `keywords` stands for, see `Collection.from_folder`."""
    if not isinstance(keywords, Mapping):
        rows = _read(keywords, ["keywords"])
        if "keywords" not in rows:
            raise QueryError(f"the table of keywords needs the column keywords, but has {_names(rows)}")
        keywords = dict(zip(map(_text, rows["path"]), rows["keywords"], strict=True))
    return ByName({id: keyword_list(value) for id, value in keywords.items()}, [])


def separator_of(line: str, columns: Collection[str]) -> str:
    """What separates the columns in the first line of a CSV file: a comma, a semicolon or a tab, as spreadsheets write.

    columns: names that the line should have.
    """
    fields = {separator: next(csv.reader([line], delimiter=separator), []) for separator in ",;\t"}
    return max(fields, key=lambda separator: (len({*columns} & {*fields[separator]}), len(fields[separator])))


def _read(table: str | os.PathLike | pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """A table with a column of paths, which may be named id, and perhaps these columns."""
    rows = table if isinstance(table, pd.DataFrame) else _read_csv(check_path(table, "the path of the table"), columns)
    if "path" in rows:
        return rows
    if "id" not in rows:
        raise QueryError(f"the table needs a column path (or id), but has {_names(rows)}: rename one")
    return rows.rename(columns={"id": "path"})


def _read_csv(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        with path.open("rb") as file:
            encoding = "utf-16" if file.read(2) in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8-sig"
        with path.open(newline="", encoding=encoding) as file:
            separator = separator_of(file.readline(), ["path", "id", *columns])
        return pd.read_csv(path, sep=separator, encoding=encoding, dtype=str, keep_default_na=False)
    except (OSError, ValueError, csv.Error) as error:  # pandas' own are ValueErrors
        reason = getattr(error, "strerror", None) or first_line(error)
        raise QueryError(f"the table {path} cannot be read ({reason})") from None


def _names(rows: pd.DataFrame) -> str:
    return ", ".join(map(repr, rows.columns))


def _inside(value: object, folder: Path) -> tuple[str, str]:
    """The id of a path and the reason for its rejection, "" if there is none."""
    id = text = _text(value)
    with suppress(ValueError):  # on Windows, for another drive
        id = Path(os.path.relpath(os.path.join(folder, text), folder)).as_posix()
    if not text or leads_out(id):
        return text, f"it is no path in {folder}: move the picture into that folder, or set folder="
    return id, ""


def _on_disk(id: str, folder: Path, by_form: Callable[[Path], Mapping[str, list[Path]]]) -> str:
    """The id as its file is named, where the table has another form of the name."""
    if os.path.lexists(folder / id):
        return id
    places = [folder]  # two folders may have names that differ in form only
    for part in id.split("/"):
        places = [path for place in places for path in by_form(place).get(fold_name(part), ())]
    return places[0].relative_to(folder).as_posix() if len(places) == 1 else id


def _by_form(folder: Path) -> dict[str, list[Path]]:
    """What is in a folder, by the folded names."""
    paths = defaultdict(list)
    with suppress(OSError):
        for path in folder.iterdir():
            paths[fold_name(path.name)].append(path)
    return paths


def _text(path: object) -> str:
    return "" if path is None or pd.isna(path) else str(path)
