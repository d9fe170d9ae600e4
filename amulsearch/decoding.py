"""Many pictures decoded at once, in processes of their own: a file that crashes or hangs a decoder ends that process
only, and is rejected with the reason.

A worker reads a request, one line of JSON, from its standard input: a list of `Request`s. For each it answers with
five numbers, (0, height, width, whole width, whole height), and the RGB pixels, or (length, 0, 0, 0, 0) and the reason
why there are none in UTF-8.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from queue import LifoQueue
from typing import NamedTuple

import numpy as np
from PIL import Image

from .errors import AmulsearchError, PictureError
from .pictures import MAX_PIXELS, file_of, open_for

PATIENCE = 60.0
"""Seconds that a picture may take before its decoder is ended."""

MEMORY = 4 << 30
"""Bytes of memory that a decoder may take; a picture that needs more is rejected."""

_HEAD = struct.Struct("<5I")
# The package's own __init__ would import pandas and much else that a decoder does not need.
_START = (
    "import sys, types; package = types.ModuleType('amulsearch'); package.__path__ = [sys.argv[1]];"
    "sys.modules['amulsearch'] = package; from amulsearch.decoding import serve; serve()"
)


class Request(NamedTuple):
    """A picture to decode: the file, the SHA-256 that it must have, and how it is opened (see `open_for`)."""

    path: str
    digest: str
    frame: int = 0
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    side: int | None = None


class Decoded(NamedTuple):
    """rgb: (H, W, 3) uint8; size: width and height of the whole picture, of which it may be a reduced one."""

    rgb: np.ndarray
    size: tuple[int, int]


def decode(requests: Sequence[Request]) -> list[Decoded | PictureError]:
    """The pictures in their order, or for each that cannot be had the error that says why.

    It may be called from several threads; as many processes work as there are processors, and stay for later calls.
    """
    return _workers(os.getpid()).decode(requests)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _workers(pid: int) -> _Workers:
    return _Workers(processors())  # a forked process gets its own


class _Workers:
    """At most `count` worker processes, each started when it is first needed."""

    def __init__(self, count: int):
        self._idle: LifoQueue[_Worker | None] = LifoQueue()
        for _ in range(count):
            self._idle.put(None)

    def decode(self, requests: Sequence[Request]) -> list[Decoded | PictureError]:
        worker = self._idle.get()
        done: list[Decoded | PictureError] = []
        try:
            while len(done) < len(requests):
                worker = worker or _Worker()
                done += worker.decode(requests[len(done) :])
                worker = worker if worker.alive else worker.end()
        except BaseException:  # an interrupted worker may still have answers on their way
            worker = worker.end() if worker else None
            raise
        finally:
            self._idle.put(worker)
        return done


class _Worker:
    """One process; once not `alive` it is to be ended and replaced."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _START, str(Path(__file__).parent)],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.end)
        self.alive = self._read(1) is not None
        if not self.alive:
            self.end()
            raise AmulsearchError(f"no process that decodes pictures can be started with {sys.executable}")

    def decode(self, requests: Sequence[Request]) -> Iterator[Decoded | PictureError]:
        """The answers up to the first picture that ends the process, and the error for that one."""
        try:
            self.process.stdin.write(json.dumps(requests).encode() + b"\n")
        except OSError:  # it was ended from outside, before it was asked
            self.alive = False
            return
        for _ in requests:
            head = self._read(_HEAD.size) if wait([self.process.stdout], PATIENCE) else None
            if head is None:
                self.alive = False
                yield self._obituary()
                return
            length, height, width, *size = _HEAD.unpack(head)
            body = self._read(length or height * width * 3)
            if body is None:
                self.alive = False
                yield self._obituary()
                return
            if length:
                yield PictureError(body.decode())
            else:
                yield Decoded(np.frombuffer(body, dtype=np.uint8).reshape(height, width, 3), tuple(size))

    def _read(self, count: int) -> bytearray | None:
        """So many bytes, or None where the process ended before."""
        data = bytearray(count)
        view, have = memoryview(data), 0
        while have < count:
            more = self.process.stdout.readinto(view[have:])
            if not more:
                return None
            have += more
        return data

    def _obituary(self) -> PictureError:
        """Why there is no answer."""
        try:
            code = self.process.wait(1)
        except subprocess.TimeoutExpired:
            return PictureError(f"decoding it takes more than {PATIENCE:g} seconds")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return PictureError(f"damaged: its decoder crashed ({how})")

    def end(self) -> None:
        atexit.unregister(self.end)
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def serve() -> None:
    """The work of a worker process: answer requests until the standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt from the keyboard is for the process that asks
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system has this limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a decoder prints must not get among the answers
    answers.write(b"\n")
    answers.flush()
    with contextlib.suppress(BrokenPipeError):
        for line in sys.stdin.buffer:
            for fields in json.loads(line):
                answers.writelines(_answer(Request(*fields)))
                answers.flush()


def _answer(request: Request) -> tuple[bytes, bytes | memoryview]:
    try:
        image, size = _decoded(request)
        rgb = np.asarray(image)
        return _HEAD.pack(0, *rgb.shape[:2], *size), rgb.data
    except AmulsearchError as error:
        reason = str(error)
    except MemoryError:
        reason = "not enough memory to decode it"
    reason = reason.encode("utf-8", "backslashreplace")
    return _HEAD.pack(len(reason), 0, 0, 0, 0), reason


def _decoded(request: Request) -> tuple[Image.Image, tuple[int, int]]:
    """The picture, from bytes that are read once: what is digested is what is decoded."""
    with file_of(request.path) as file:
        try:
            content = file.read()
        except OSError as error:
            raise PictureError(f"cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(content).hexdigest() != request.digest:
        raise PictureError("the file has changed since the folder was scanned: scan it again")
    how = {"frame": request.frame, "background": request.background, "max_pixels": request.max_pixels}
    return open_for(request.side, content, **how)
