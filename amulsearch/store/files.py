"""Files that are written completely or not at all, by one writer at a time."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import StoreError
from ..intake import leads_out

DIGESTED = 16 << 20
"""Up to this many bytes, the digest of a file is checked whenever it is opened; above, only by `check`."""


def unwritable(path: Path, error: Exception) -> StoreError:
    """The error for a file that cannot be written, with the reason and the remedy."""
    reason = getattr(error, "strerror", None) or error
    what = "free some disk space, or give a folder on a disk that you can write to"
    return StoreError(f"{path} cannot be written: {reason}; {what}")


def writable(folder: Path) -> bool:
    """Whether this user may write to a folder."""
    return os.access(folder, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def inside(folder: Path, name: str) -> Path:
    """The path of a file or folder of a store, relative to it; StoreError if it leads out, also through a link."""
    path = folder / name
    try:
        within = not leads_out(name) and folder.resolve() in path.resolve().parents
    except (OSError, RuntimeError):  # a loop of links
        within = False
    if not within:
        raise StoreError(f"{folder} names {name!r}, which is outside of it: do not use this store")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file completely or not at all: a context manager that gives a temporary path and replaces `path` at the
    end. StoreError if that fails."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_at(path: Path, end: int, data: bytes) -> None:
    """Replace everything after the first `end` bytes of a file with `data`; it is on disk on return."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
        if file.seek(0, os.SEEK_END) > end:  # Windows truncates no file that is mapped into memory
            file.truncate(end)
        file.seek(end)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock that excludes other processes, until this one ends; the same process may enter it repeatedly.

    StoreError if another process holds the lock and `wait` is false, or the file cannot be locked.
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
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise unwritable(path.parent, error) from None
    try:
        yield
    finally:
        lock.release()


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk."""
    if path.is_dir() and os.name == "nt":  # Windows does not support this for folders
        return
    # Windows flushes only what is open for writing.
    handle = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
