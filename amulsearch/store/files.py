"""Files that are whole or not there: written beside their place first, sealed with a digest, one writer at a time."""

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
"""Bytes up to which the digest of a file is checked whenever it is opened; of a larger one `check` alone does it."""

PARTIAL = ".partial"
"""The ending of what is being written; a file that has it and no writer was left by a process that was killed."""

_REMEDIES = {
    errno.ENOSPC: "free some space and run the same again; what was there before is kept",
    errno.EDQUOT: "free some of your quota and run the same again; what was there before is kept",
    errno.EROFS: "give a folder on a disk that can be written to",
    errno.EACCES: "give a folder that you may write to",
}


def unwritable(path: Path, error: OSError) -> StoreError:
    """The error for a file that cannot be written: why, and what to do."""
    remedy = _REMEDIES.get(error.errno)
    return StoreError(f"{path} cannot be written: {error.strerror or error}" + (f"; {remedy}" if remedy else ""))


@contextmanager
def replacing(*paths: Path) -> Iterator[list[Path]]:
    """Paths to write to, which in the end take the places of `paths`, all on disk before the first does.

    The last of several vouches for the others: it is taken away before they change and comes back last. Where
    anything fails before, all that was there stays. Raises StoreError where they cannot be written.
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
    """Let `data` follow the first `end` bytes of a file, in place of whatever comes after them; on disk on return."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        file.truncate(end)
        file.seek(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_sealed(path: Path, content: dict) -> None:
    """Write a JSON object whose first member is the SHA-256 of what follows it; a table in it as its columns.

    Piece by piece: a table can be long, and none of its columns is a list before its turn.
    """
    digest = hashlib.sha256()
    with path.open("wb") as file:
        file.write(_seal("0" * 64))
        pieces = json.JSONEncoder(ensure_ascii=False, default=_columns).iterencode(content)
        next(pieces)  # the opening brace, which is in the seal
        while text := "".join(islice(pieces, 10_000)):
            # A name that is not valid UTF-8 becomes \udcXX, which JSON reads back as it was.
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
    """Write a sealed JSON file whole or not at all; `content` names its format."""
    with replacing(path) as (temporary,):
        write_sealed(temporary, content)


def read_json(path: Path, format: int, remedy: str, older: str = "") -> dict:
    """The content of a file that `write_json` wrote.

    older: what to do where it has an older format, by default the remedy.

    Raises StoreError with the remedy where it is missing, damaged or changed, OtherFormatError for another format.
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
        raise OtherFormatError(f"{path} has format {found}, and this amulsearch reads {format}: {advice}")
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
    """While this process is in here, no other one is with the same path; it may enter again.

    The lock ends with the process, however that ends. Raises StoreError where it is taken and `wait` is not set, or
    where the file cannot be made.
    """
    from filelock import FileLock, Timeout  # a tenth of a second to import, and reading needs no lock

    lock = FileLock(path, is_singleton=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise StoreError(f"another process is writing to {path.parent}: wait until it has ended") from None
            print(f"waiting until another process has written to {path.parent}", file=sys.stderr, flush=True)
            lock.acquire()
    except (OSError, NotImplementedError) as error:
        if isinstance(error, OSError):
            raise unwritable(path.parent, error) from None
        raise StoreError(f"{path.parent} is on a disk that knows no locks: give a folder on another") from None
    try:
        yield
    finally:
        lock.release()


def _sync(path: Path) -> None:
    """Have the disk hold a file, or the names in a folder."""
    if path.is_dir() and os.name == "nt":  # which knows no such thing for folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
