"""Decode pictures in parallel worker processes.

A file that crashes or hangs a decoder ends only its worker and is rejected with the reason.

A worker reads lines of JSON from its standard input, each a list of `Request`s. It answers each request with five
numbers and a body: (0, height, width, full width, full height) and the RGB pixels; (length, 0, 0, 0, 0) and the reason
for a rejection in UTF-8; or (length, 1, 0, 0, 0) and the result of a scan in JSON.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import math
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from queue import LifoQueue
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..errors import AmulsearchError, PictureError
from .pictures import MAX_PIXELS, file_of, open_for, read_header

PATIENCE = 60.0
"""Seconds that decoding one picture may take before its process is ended."""

MEMORY = 4 << 30
"""Bytes of memory that a worker may use; a picture that needs more is rejected."""

_HEAD = struct.Struct("<5I")
_START = (
    "import sys; sys.path.append(sys.argv[1]); import lazy_loader; sys.path.insert(0, sys.argv[1]); import amulsearch; "
    "del sys.path[0]; from amulsearch.intake.decoding import serve; serve()"
)
"""What a worker runs; its argument is the folder that holds the package. It imports neither pandas nor torch.

That folder comes first for the package only, and Python's -P leaves the working directory out: a hashlib.py that lies
in either is not taken for the one of the standard library.
"""


class Request(NamedTuple):
    """A picture to decode.

    Parameters
    ----------
    path : str
        The file.
    digest : str or None
        The SHA-256, in hexadecimal, that the file must have; None to scan the file without decoding it.
    frame, background, max_pixels
        How the picture is opened, see `open_image`.
    side : int, optional
        Pixels that the shorter side must keep: a large JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size.
    """

    path: str
    digest: str | None
    frame: int = 0
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    side: int | None = None


class Decoded(NamedTuple):
    """A decoded picture.

    Attributes
    ----------
    rgb : ndarray of shape (H, W, 3), uint8
        The pixels, possibly at a reduced size.
    size : tuple of 2 int
        Width and height of the full picture in pixels.
    """

    rgb: np.ndarray
    size: tuple[int, int]


def decode(requests: Sequence[Request]) -> list[Decoded | PictureError]:
    """Decode pictures in a worker process.

    Several threads may call this at once. There are at most as many workers as processors; they stay for later calls.

    Parameters
    ----------
    requests : sequence of Request
        The pictures to decode.

    Returns
    -------
    list of Decoded or PictureError
        In the order of the requests; an error in place of each picture that cannot be decoded.

    Raises
    ------
    AmulsearchError
        If no worker can be started, or this is one of `decoding_threads` that were left by an error.
    """
    return list(decode_each(requests))


def decode_each(requests: Sequence[Request]) -> Iterator[Decoded | PictureError]:
    """Decode pictures as `decode` does, and yield them one by one, so that they are not in memory together.

    Parameters
    ----------
    requests : sequence of Request

    Yields
    ------
    Decoded or PictureError
        In the order of the requests.

    Raises
    ------
    AmulsearchError
        As `decode` does.
    """
    return _workers(os.getpid()).decode(requests, getattr(_thread, "group", None) or _Group())


def scan(paths: Sequence[Path], max_pixels: int) -> list[dict | PictureError]:
    """For each file, in order: bytes, digest (SHA-256) and the fields of `pictures.Header`, or why it is rejected.

    Each file is read once, so that all values describe the same content.
    """
    return decode([Request(str(path.absolute()), None, max_pixels=max_pixels) for path in paths])


@contextlib.contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """Threads for calls of `decode`: a context manager that, left by an error, waits for no slow picture.

    The workers that these threads use are then ended, and no others.

    Yields
    ------
    ThreadPoolExecutor
        As many threads as processors.
    """
    group = _Group()
    pool = ThreadPoolExecutor(processors(), initializer=lambda: setattr(_thread, "group", group))
    try:
        yield pool
    except BaseException:
        group.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """Return the number of processors that this process may use.

    Returns
    -------
    int
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _workers(pid: int) -> _Workers:
    return _Workers(processors())  # a forked process gets its own


_thread = threading.local()
"""`group`: the `_Group` of this thread, in `decoding_threads` only."""


class _Group:
    """Calls of `decode` that are stopped together."""

    def __init__(self) -> None:
        self._lock, self._busy, self._stopped = threading.Lock(), set(), False

    def enter(self, worker: _Worker) -> None:
        with self._lock:
            self._busy.add(worker)
            if self._stopped:
                raise AmulsearchError("decoding was stopped: run it again")

    def leave(self, worker: _Worker) -> _Worker | None:
        """The worker if another call can use it."""
        with self._lock:
            self._busy.discard(worker)
            return worker if worker.alive and not self._stopped else worker.end()

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for worker in self._busy:
                worker.process.kill()


class _Workers:
    """At most `count` workers, each started when it is first needed."""

    def __init__(self, count: int):
        self._idle: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def decode(self, requests: Sequence[Request], group: _Group) -> Iterator[Decoded | dict | PictureError]:
        worker = self._idle.get()
        done = 0
        try:
            while done < len(requests):
                worker = worker or _Worker()
                group.enter(worker)
                for one in worker.decode(requests[done:]):
                    done += 1
                    yield one
                worker = group.leave(worker)
        except BaseException:
            if worker:
                worker.alive = False  # interrupted, it may still be sending answers
                worker = group.leave(worker)
            raise
        finally:
            self._idle.put(worker)


class _Worker:
    """One worker process; when no longer `alive`, it has to be ended and replaced."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.end)
        self._late = False
        self.alive = self._read(1) is not None
        if not self.alive:
            self.end()
            raise AmulsearchError(
                f"the process that decodes pictures could not be started with {sys.executable}: free some memory, or "
                "reinstall amulsearch"
            )

    def decode(self, requests: Sequence[Request]) -> Iterator[Decoded | dict | PictureError]:
        """The answers up to and including the first picture that ends the process, for which it is an error."""
        with self._watched():
            yield from self._answers(requests)

    @contextlib.contextmanager
    def _watched(self) -> Iterator[None]:
        """End the process when a picture takes too long: on Windows, reading from a pipe has no time limit."""
        over, self._begun = threading.Event(), time.monotonic()

        def watch() -> None:
            while not over.wait(min(PATIENCE, max(0, self._begun + PATIENCE - time.monotonic()))):
                if time.monotonic() >= self._begun + PATIENCE:
                    self._late = True
                    self.process.kill()
                    return

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _answers(self, requests: Sequence[Request]) -> Iterator[Decoded | dict | PictureError]:
        try:
            self.process.stdin.write(json.dumps(requests).encode() + b"\n")
        except OSError:  # it was ended from outside before this request
            self.alive = False
            return
        for _ in requests:
            self._begun = time.monotonic()
            head = self._read(_HEAD.size)
            length, height, width, *size = _HEAD.unpack(head) if head else (0,) * 5
            body = head and self._read(length or height * width * 3)
            self._begun = math.inf  # whoever asked may take their time
            if body is None:
                self.alive = False
                yield self._obituary()
                return
            if length:
                yield json.loads(body) if height else PictureError(body.decode())
            else:
                yield Decoded(np.frombuffer(body, dtype=np.uint8).reshape(height, width, 3), tuple(size))

    def _read(self, count: int) -> bytearray | None:
        """Read `count` bytes; None if the process ends before."""
        data = bytearray(count)
        view, have = memoryview(data), 0
        while have < count:
            more = self.process.stdout.readinto(view[have:])
            if not more:
                return None
            have += more
        return data

    def _obituary(self) -> PictureError:
        """The reason why there is no answer."""
        code = self.process.wait()
        if self._late:
            return PictureError(f"decoding took more than {PATIENCE:g} seconds")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return PictureError(f"damaged: its decoder crashed ({how})")

    def end(self) -> None:
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def serve() -> None:
    """Run a worker: answer requests until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is meant for the parent process
    with contextlib.suppress(ImportError, ValueError, OSError):  # not all systems have these limits
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # keeps what a decoder prints out of the answers
    answers.write(b"\n")
    answers.flush()
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            for fields in json.loads(line):
                if hasattr(signal, "alarm"):  # ends a decoder that hangs after its parent has gone
                    signal.alarm(int(PATIENCE) + 5)
                answer = _answer(Request(*fields))
                if hasattr(signal, "alarm"):
                    signal.alarm(0)
                answers.writelines(answer)
                answers.flush()


def _answer(request: Request) -> tuple[bytes, bytes | memoryview]:
    try:
        if request.digest is None:
            row = json.dumps(_scanned(request)).encode()
            return _HEAD.pack(len(row), 1, 0, 0, 0), row
        image, size = _decoded(request)
        rgb = np.asarray(image)
        return _HEAD.pack(0, *rgb.shape[:2], *size), rgb.data
    except AmulsearchError as error:
        reason = str(error)
    except MemoryError:
        reason = "not enough memory to decode it"
    reason = reason.encode("utf-8", "backslashreplace")
    return _HEAD.pack(len(reason), 0, 0, 0, 0), reason


def _content(request: Request) -> bytes:
    with file_of(request.path) as file:
        try:
            return file.read()
        except OSError as error:
            raise PictureError(f"cannot be read: {error.strerror or error}") from None


def _scanned(request: Request) -> dict:
    content = _content(request)
    header = read_header(content, request.max_pixels)
    return {"bytes": len(content), "digest": hashlib.sha256(content).hexdigest(), **vars(header)}


def _decoded(request: Request) -> tuple[Image.Image, tuple[int, int]]:
    """The picture; its file is read once, so that the digest is that of the decoded bytes."""
    content = _content(request)
    if hashlib.sha256(content).hexdigest() != request.digest:
        raise PictureError("it has changed since it was scanned: scan the folder again")
    how = {"frame": request.frame, "background": request.background, "max_pixels": request.max_pixels}
    return open_for(request.side, content, **how)
