"""Atomic and sealed files: written to a temporary file first, sealed with a digest, by one writer at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from ..errors import OtherFormatError, StoreError

DIGESTED = 16 << 20
"""Up to this many bytes, the digest of a file is checked whenever it is opened; above, only by `check`."""

PARTIAL = ".partial"
"""The extension of temporary files; one without a writer was left by a process that was killed."""

_REMEDIES = {
    errno.ENOSPC: "free some disk space and try again; the previous contents are kept",
    errno.EDQUOT: "free some of your disk quota and try again; the previous contents are kept",
    errno.EROFS: "give a folder on a writable disk",
    errno.EACCES: "give a folder that you have permission to write to",
}


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for a file that cannot be written, with the reason and the remedy."""
    remedy = _REMEDIES.get(error.errno)
    return StoreError(f"{path} cannot be written: {error.strerror or error}" + (f"; {remedy}" if remedy else ""))


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Write files atomically: a context manager that gives temporary paths and replaces `paths` at the end.

    All temporary files are on disk before the first one replaces its target. The last of several paths is the one
    that vouches for the others: it is removed before they change and replaced last. If anything fails before that,
    the old files stay.

    Parameters
    ----------
    *paths : Path
        The files to replace; missing parent folders are created.

    Yields
    ------
    list of Path
        A path to write to for each of `paths`.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
    temporaries = [path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}") for path in paths]
    try:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        yield temporaries
        for temporary in temporaries:
            _sync(temporary)
        if len(paths) > 1:
            paths[-1].unlink(missing_ok=True)
        for temporary, path in zip(temporaries, paths, strict=True):
            os.replace(temporary, path)
        _sync(paths[0].parent)
    except OSError as error:
        raise unwritable(paths[0], error) from None
    finally:
        for temporary in temporaries:
            with suppress(OSError):
                temporary.unlink()


def write_at(path: Path, end: int, data: bytes) -> None:
    """Replace everything after the first `end` bytes of a file with `data`; it is on disk on return."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_sealed(path: Path, content: dict) -> None:
    """Write a JSON object whose first member is the SHA-256 of the rest; a table is written as its columns.

    The object is written in pieces: a table can be long, and only one column at a time is converted to a list.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        file.write(_seal("0" * 64))
        pieces = json.JSONEncoder(ensure_ascii=False, default=_columns).iterencode(content)
        next(pieces)  # the opening brace, which the seal contains
        while text := "".join(islice(pieces, 10_000)):
            # A name that is not valid UTF-8 becomes \udcXX, which JSON reads back unchanged.
            data = text.encode("utf-8", "backslashreplace")
            digest.update(data)
            file.write(data)
        file.seek(0)
        file.write(_seal(digest.hexdigest()))


def _columns(part) -> dict | list:
    return part.tolist() if hasattr(part, "tolist") else dict(part.items())


def _seal(digest: str) -> bytes:
    return f'{{"digest": "{digest}", '.encode()


def write_json(path: Path, content: dict) -> None:
    """Write a sealed JSON file atomically.

    Parameters
    ----------
    path : Path
        The file.
    content : dict
        The object to write, with its format number as "format". Tables are written as their columns.

    Raises
    ------
    StoreError
        If the file cannot be written.
    """
    with replacing(path) as (temporary,):
        write_sealed(temporary, content)


def read_json(path: Path, format: int, remedy: str, older: str = "") -> dict:
    """The content of a file that `write_json` wrote.

    older: the remedy for an older format, by default `remedy`.

    Raises StoreError with the remedy if the file is missing, damaged or changed, OtherFormatError for another format.
    """
    try:
        data = path.read_bytes()
        content = json.loads(data)
    except FileNotFoundError:
        raise StoreError(f"{path} is missing: {remedy}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path} cannot be read ({error}): {remedy}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != format:
        newer = isinstance(found, int) and found > format
        advice = "update amulsearch" if newer else older or remedy
        raise OtherFormatError(f"{path} has format {found}, but this amulsearch reads format {format}: {advice}")
    start = len(_seal("0" * 64))
    if data[:start] != _seal(hashlib.sha256(data[start:]).hexdigest()):
        raise StoreError(f"{path} was changed or damaged after it was written: {remedy}")
    del content["digest"]
    return content


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that excludes other processes; a context manager.

    The same process may enter it repeatedly. The lock is released when the process ends, for whatever reason.

    Parameters
    ----------
    path : Path
        The lock file; its folder is created if it does not exist.
    wait : bool, default True
        Wait while another process holds the lock.

    Raises
    ------
    StoreError
        If another process holds the lock and `wait` is false, or the file cannot be locked.
    """
    from filelock import FileLock, Timeout  # takes 0.1 s to import, and reading needs no lock

    lock = FileLock(path, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise StoreError(f"another process is writing to {path.parent}: wait until it ends") from None
            print(f"waiting for another process that is writing to {path.parent}", file=sys.stderr, flush=True)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError):
            raise unwritable(path.parent, error) from None
        raise StoreError(f"{path.parent} is on a disk without file locks: give a folder on another disk") from None
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    if path.is_dir() and os.name == "nt":  # Windows does not support this for folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
