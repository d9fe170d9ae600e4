"""Looking through a folder: which files are pictures, and what their headers say; no pixels are decoded."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from .errors import PictureError
from .pictures import SUFFIXES, read_header


def walk(folder: Path) -> tuple[list[str], list[dict], dict[str, int]]:
    """Names of the files to scan, sorted; what is rejected by name alone; what is passed over, counted by kind."""
    names, rejected, passed_over = [], [], Counter()

    def unreadable(error: OSError) -> None:
        name = os.path.relpath(error.filename, folder)
        rejected.append({"id": _printable(name), "reason": f"folder cannot be read: {error.strerror}"})

    for parent, folders, files in os.walk(folder, onerror=unreadable):
        for name in sorted(folders):
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif os.path.islink(os.path.join(parent, name)):
                passed_over["link to a folder"] += 1
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            relative = Path(os.path.relpath(os.path.join(parent, name), folder)).as_posix()
            if name.startswith("."):
                passed_over["hidden"] += 1
            elif suffix not in SUFFIXES:
                passed_over[f"not a picture: {_printable(suffix) or 'no ending'}"] += 1
            elif _printable(relative) != relative:
                rejected.append({"id": _printable(relative), "reason": "its name is not valid UTF-8: rename it"})
            else:
                names.append(relative)
    return sorted(names), rejected, dict(passed_over)


def scan_all(folder: Path, names: list[str], max_pixels: int, progress: bool) -> Iterator[dict]:
    """For each file, in order, a row of the table of `Collection`, or its id and the reason why it is rejected."""
    chunks = [names[start : start + 32] for start in range(0, len(names), 32)]
    pool = ThreadPoolExecutor()
    try:
        with tqdm(total=len(names), desc="scan", unit="picture", delay=2, disable=not progress) as bar:
            for rows in pool.map(lambda chunk: [_scan(folder, name, max_pixels) for name in chunk], chunks):
                yield from rows
                bar.update(len(rows))
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupt does not wait for the rest of the folder


def _scan(folder: Path, name: str, max_pixels: int) -> dict:
    """The table's row of one file, or its id and the reason why it is rejected."""
    path = folder / name
    try:
        header = read_header(path, max_pixels)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except PictureError as error:
        return {"id": name, "reason": str(error)}
    except OSError as error:
        return {"id": name, "reason": f"cannot be read: {error.strerror or error}"}
    return {"id": name, "bytes": size, "digest": digest, **vars(header)}


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
