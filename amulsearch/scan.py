"""Looking through a folder: which files are pictures, and what their headers say; no pixels are decoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from .decoding import processors, scan, stop
from .errors import PictureError
from .pictures import SUFFIXES


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
    pool = ThreadPoolExecutor(processors())
    try:
        with tqdm(total=len(names), desc="scan", unit="picture", delay=2, disable=not progress) as bar:
            found = pool.map(lambda chunk: scan([folder / name for name in chunk], max_pixels), chunks)
            for chunk, answers in zip(chunks, found, strict=True):
                for name, answer in zip(chunk, answers, strict=True):
                    rejected = isinstance(answer, PictureError)
                    yield {"id": name, "reason": str(answer)} if rejected else {"id": name, **answer}
                bar.update(len(chunk))
    except BaseException:
        stop()  # an interrupt does not wait for a slow picture
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _printable(name: str) -> str:
    """The name with bytes that are not UTF-8 shown as escapes."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")
