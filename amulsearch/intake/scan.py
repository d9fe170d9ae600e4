"""Scan a folder: find the files that are pictures and read their headers; no pixels are decoded."""

from __future__ import annotations

import mimetypes
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from ..errors import AmulsearchError, PictureError, QueryError, check_path
from .decoding import decoding_threads, scan
from .names import ByName
from .outputs import outputs_in
from .pictures import RAW, SUFFIXES, begins_as_picture

SYSTEM_FOLDERS = frozenset(
    (
        *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "RECYCLER"),
        *("System Volume Information", "lost+found", "__MACOSX"),
    )
)
"""Folders that storage devices and systems make for thumbnails, deleted files and the like; others are hidden."""

NAMED = SUFFIXES | RAW
"""The extensions of the files that are scanned whatever they hold."""

_TYPES = mimetypes.MimeTypes()
"""What Python knows of file name extensions, without what this system adds."""


@dataclass(frozen=True)
class Listing:
    """The files to scan, before any is opened.

    folder: what the names are relative to; names: sorted; rejected: {"id", "reason"} of files rejected before they are
    opened; passed_over: the number of other files by kind; columns: "label" and further columns of the collection's
    table, each a function of the id; a `ByName` where a person gave a table of it.
    """

    folder: Path
    names: list[str]
    rejected: list[dict]
    passed_over: Mapping[str, int]
    columns: Mapping[str, Callable[[str], object]]


def existing_folder(folder: str | os.PathLike) -> Path:
    """The folder as a path; AmulsearchError if it does not exist."""
    folder = check_path(folder, "the folder of pictures")
    if not folder.is_dir():
        raise AmulsearchError(f"{folder} is not a folder: give the folder that holds the pictures")
    return folder


def labeller(labels) -> Callable[[str], str | None]:
    """The function from id to label that `labels` stands for, see `Collection.from_folder`; of a table, a `ByName`."""
    if labels is None:
        return lambda id: None
    if isinstance(labels, str):
        if labels != "folder":
            raise QueryError(f'labels cannot be {labels!r}: use "folder", None, a function, a mapping or a table')
        return lambda id: id.rpartition("/")[0] or None
    if callable(labels):
        return labels
    if isinstance(labels, pd.DataFrame):
        if not {"id", "label"} <= set(labels.columns):
            raise QueryError(f"the table of labels needs the columns id and label, but has {list(labels.columns)}")
        labels = dict(zip(labels["id"], labels["label"], strict=True))
    if isinstance(labels, (Mapping, pd.Series)):
        return ByName(dict(labels))
    raise QueryError(
        f'labels cannot be of type {type(labels).__name__}: use "folder", None, a function, a mapping or a table'
    )


def walk(folder: Path) -> tuple[list[str], list[dict], dict[str, int]]:
    """Sorted names of the files to scan; files rejected by their name; counts of the files passed over, by kind."""
    names, rejected, passed_over = [], [], Counter()

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        rejected.append({"id": _printable(name), "reason": f"folder cannot be read: {error.strerror}"})

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        for name in sorted(folders):
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif name in SYSTEM_FOLDERS:
                passed_over[f"folder of the system: {name}"] += 1
            elif os.path.islink(os.path.join(parent, name)):
                passed_over["link to a folder"] += 1
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SYSTEM_FOLDERS)
        if "store.sqlite" in files:
            folders[:], files = [], []
            passed_over["store of amulsearch"] += 1
        written = outputs_in(parent)
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            path = os.path.join(parent, name)
            relative = Path(os.path.relpath(path, folder)).as_posix()
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif name in written:
                passed_over["written by amulsearch"] += 1
            elif suffix not in NAMED and (_of_other_kind(suffix) or not begins_as_picture(path)):
                passed_over[f"not a picture: {_printable(suffix) or 'no extension'}"] += 1
            elif _printable(relative) != relative:
                rejected.append({"id": _printable(relative), "reason": "the name is not valid UTF-8: rename it"})
            else:
                names.append(relative)
    return sorted(names), rejected, dict(passed_over)


def _of_other_kind(suffix: str) -> bool:
    """Whether an extension is one of text, sound, films or the like: such files are not read."""
    kind = _TYPES.guess_type(f"name{suffix}")[0]
    return kind is not None and not kind.startswith("image/")


def counts_text(passed_over: Mapping[str, int]) -> str:
    """What was passed over, in words, the most frequent kinds first; "" if nothing was.

    Parameters
    ----------
    passed_over : mapping of str to int
        See `Collection.passed_over`.

    Returns
    -------
    str
    """
    return "; ".join(f"{kind}: {n:,}" for kind, n in sorted(passed_over.items(), key=lambda item: -item[1]))


def scan_all(folder: Path, names: list[str], max_pixels: int, progress: bool) -> Iterator[dict]:
    """For each file, in order, its row of the collection's table, or its id and the reason for its rejection."""
    chunks = [names[start : start + 32] for start in range(0, len(names), 32)]
    bar = tqdm(total=len(names), desc="scan", unit="picture", delay=2, disable=not progress or None)
    with bar, decoding_threads() as pool:
        found = pool.map(lambda chunk: scan([folder / name for name in chunk], max_pixels), chunks)
        for chunk, answers in zip(chunks, found, strict=True):
            for name, answer in zip(chunk, answers, strict=True):
                rejected = isinstance(answer, PictureError)
                yield {"id": name, "reason": str(answer)} if rejected else {"id": name, **answer}
            bar.update(len(chunk))


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
