"""Scan a folder: find the files that are pictures and read their headers; no pixels are decoded."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath

from tqdm.auto import tqdm

from ..errors import AmulsearchError, PictureError, check_path
from .decoding import Request, decode, decoding_threads
from .outputs import outputs_in
from .pictures import RAW, SUFFIXES, begins_as_picture

SYSTEM_FOLDERS = (
    *("@eaDir", "@Recycle", "@Recently-Snapshot", "#recycle", "#snapshot", "$RECYCLE.BIN", "RECYCLER"),
    *("System Volume Information", "lost+found", "__MACOSX"),
)
"""Folders that storage devices and systems make for thumbnails, deleted files and the like; others are hidden."""


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


def leads_out(name: str) -> bool:
    """Whether a name relative to a folder leads out of it, or can be no file's: it holds a zero byte.

    >>> leads_out("birds/crow.webp"), leads_out("birds/../../crow.webp"), leads_out("/etc/passwd")
    (False, True, True)
    """
    path = PurePath(name)
    return bool(path.anchor) or ".." in path.parts or "\0" in name


def list_folder(folder: Path, columns: Mapping[str, Callable]) -> Listing:
    """The files of a folder and of all below it that may be pictures."""
    names, rejected, passed_over = [], [], Counter()

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        rejected.append({"id": _printable(name), "reason": f"folder cannot be read: {error.strerror}"})

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        kinds = {name: _folder_kind(parent, name) for name in sorted(folders)}
        folders[:] = [name for name, kind in kinds.items() if not kind]
        if "store.sqlite" in files:
            kinds, files = {"": "store of amulsearch"}, []
            folders.clear()
        written = outputs_in(Path(parent))
        for name in files:
            kinds[name] = "written by amulsearch" if name in written else _file_kind(parent, name)
            if kinds[name]:
                continue
            id = Path(os.path.relpath(os.path.join(parent, name), folder)).as_posix()
            if _printable(id) == id:
                names.append(id)
            else:
                rejected.append({"id": _printable(id), "reason": "the name is not valid UTF-8: rename it"})
        passed_over.update(filter(None, kinds.values()))
    return Listing(folder, sorted(names), rejected, dict(passed_over), columns)


def _folder_kind(parent: str, name: str) -> str:
    """Why a folder is passed over; "" if it is not."""
    if name.startswith("."):
        return "hidden"
    if name in SYSTEM_FOLDERS:
        return f"folder of the system: {name}"
    return "link to a folder" if os.path.islink(os.path.join(parent, name)) else ""


def _file_kind(parent: str, name: str) -> str:
    """Why a file is passed over; "" if it is not."""
    if name.startswith("."):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()
    if suffix in SUFFIXES or suffix in RAW or begins_as_picture(os.path.join(parent, name)):
        return ""
    return f"not a picture: {_printable(suffix) or 'no extension'}"


def counts_text(passed_over: Mapping[str, int]) -> str:
    """What was passed over, in words, the most frequent kinds first; "" if nothing was."""
    return "; ".join(f"{kind}: {n:,}" for kind, n in sorted(passed_over.items(), key=lambda item: -item[1]))


def scan_all(listing: Listing, max_pixels: int, progress: bool) -> Iterator[dict]:
    """For each file, in order, its row of the collection's table, or its id and the reason for its rejection."""
    names = listing.names
    chunks = [names[start : start + 32] for start in range(0, len(names), 32)]

    def headers(chunk: list[str]) -> list[dict | PictureError]:
        paths = (listing.folder.absolute() / name for name in chunk)
        return list(decode([Request(str(path), None, max_pixels=max_pixels) for path in paths]))

    bar = tqdm(total=len(names), desc="scan", unit="picture", delay=2, disable=not progress or None)
    with bar, decoding_threads() as pool:
        for chunk, answers in zip(chunks, pool.map(headers, chunks), strict=True):
            for name, answer in zip(chunk, answers, strict=True):
                rejected = isinstance(answer, PictureError)
                yield {"id": name, "reason": str(answer)} if rejected else {"id": name, **answer}
            bar.update(len(chunk))


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
