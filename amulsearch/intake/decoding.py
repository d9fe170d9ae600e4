"""Decode pictures in parallel worker processes.

A file that crashes or hangs a decoder ends only its worker and is rejected with the reason.

A worker reads lines of JSON from its standard input, each the seconds that a picture may take and a list of `Request`s.
It answers each request with a line of JSON: the reason for a rejection, the result of a scan, or the shape of the
pixels, which follow this line, and the full size of the picture.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from queue import LifoQueue
from typing import NamedTuple

import numpy as np

from ..errors import AmulsearchError, PictureError
from .pictures import MAX_PIXELS, file_of, guarded, open_for, read_header

PATIENCE = 60.0
"""Seconds that decoding one picture may take before its process ends itself."""

MEMORY = 4 << 30
"""Bytes of memory that a worker may use; a picture that needs more is rejected."""

_LATE = 1  # the exit status of a process that `faulthandler` ends

# What a worker runs; its argument is the folder that holds the package. It imports neither pandas nor torch.
# That folder comes first for the package only, and Python's -P leaves the working directory out: a hashlib.py that lies
# in either is not taken for the one of the standard library.
_START = (
    "import sys; sys.path.append(sys.argv[1]); import lazy_loader; sys.path.insert(0, sys.argv[1]); import amulsearch; "
    "del sys.path[0]; from amulsearch.intake.decoding import serve; serve()"
)


class Request(NamedTuple):
    """A picture to decode, opened as `open_image` does.

    digest: the SHA-256, in hexadecimal, that the file must have; None to scan the file without decoding it.
    side: pixels that the shorter side must keep: a large JPEG may then be decoded at 1/2, 1/4 or 1/8 of its size.
    """

    path: str
    digest: str | None
    frame: int = 0
    background: str = "white"
    max_pixels: int = MAX_PIXELS
    side: int | None = None


class Decoded(NamedTuple):
    """A decoded picture: pixels (H, W, 3), uint8, possibly reduced; width and height of the full picture."""

    rgb: np.ndarray
    size: tuple[int, int]


def decode(requests: Sequence[Request]) -> Iterator[Decoded | dict | PictureError]:
    """Decode pictures in a worker process, one by one, in order; an error stands for one that cannot be decoded.

    For a request without a digest, a dict: bytes, digest and what `read_header` returns. Several threads may call
    this at once. There are at most as many workers as processors; they stay for later calls.
    """
    idle, calls = _workers(os.getpid()), getattr(_thread, "calls", None) or _Calls()
    worker, done = idle.get(), 0
    try:
        calls.busy.add(worker)
        while done < len(requests):
            worker.start()
            if calls.stopped:
                raise AmulsearchError("decoding was stopped: run it again")
            for answer in worker.answers(requests[done:]):
                done += 1
                yield answer
    except BaseException:
        worker.end()  # it may still be sending answers
        raise
    finally:
        calls.busy.discard(worker)
        if calls.stopped:
            worker.end()
        idle.put(worker)


@contextlib.contextmanager
def decoding_threads() -> Iterator[ThreadPoolExecutor]:
    """As many threads as processors, for calls of `decode`; left by an error, they wait for no slow picture: the
    workers that these threads use are ended, and no others."""
    calls = _Calls()
    pool = ThreadPoolExecutor(processors(), initializer=lambda: setattr(_thread, "calls", calls))
    try:
        yield pool
    except BaseException:
        calls.stop()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def processors() -> int:
    """The number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_thread = threading.local()  # `calls`: the `_Calls` of this thread, in `decoding_threads` only


class _Calls:
    """Calls of `decode` that are stopped together."""

    def __init__(self) -> None:
        self.busy: set[_Worker] = set()
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True  # before the processes are killed: a worker that joins or leaves looks at it afterwards
        for worker in tuple(self.busy):
            worker.kill()


@lru_cache(maxsize=1)
def _workers(pid: int) -> LifoQueue[_Worker]:
    """The idle workers of a process: a forked one gets its own."""
    idle = LifoQueue()
    for _ in range(processors()):
        idle.put(_Worker())
    return idle


class _Worker:
    """A process that decodes: started when it is needed, and again when it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        if self._process and self._process.poll() is None:
            return
        self.end()
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(Path(__file__).parents[2])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        atexit.register(self.end)
        if not self._process.stdout.readline():
            self.end()
            what = f"the process that decodes pictures could not be started with {sys.executable}"
            raise AmulsearchError(f"{what}: free some memory, or reinstall amulsearch")

    def answers(self, requests: Sequence[Request]) -> Iterator[Decoded | dict | PictureError]:
        """The answers up to and including the first picture that ends the process, for which it is an error."""
        try:
            self._process.stdin.write(json.dumps([PATIENCE, requests]).encode() + b"\n")
            self._process.stdin.flush()
        except OSError:  # it was ended from outside before this request
            self.end()
            return
        for _ in requests:
            answer = self._answer()
            yield self._reason_of_end() if answer is None else answer
            if answer is None:
                return

    def _answer(self) -> Decoded | dict | PictureError | None:
        """The next answer; None if the process ends before."""
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            return None
        answer = json.loads(line)
        if "reason" in answer:
            return PictureError(answer["reason"])
        if "shape" not in answer:
            return answer
        rgb = np.empty(answer["shape"], dtype=np.uint8)
        whole = self._process.stdout.readinto(rgb) == rgb.nbytes
        return Decoded(rgb, tuple(answer["size"])) if whole else None

    def _reason_of_end(self) -> PictureError:
        code = self._process.wait()
        if code == _LATE:
            return PictureError(f"decoding took more than {PATIENCE:g} seconds")
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        return PictureError(f"damaged: its decoder crashed ({how})")

    def kill(self) -> None:
        """End the process from another thread."""
        if process := self._process:
            process.kill()

    def end(self) -> None:
        if self._process is None:
            return
        atexit.unregister(self.end)
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):  # what was not sent
                pipe.close()
        self._process = None


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
            patience, requests = json.loads(line)
            for fields in requests:
                faulthandler.dump_traceback_later(patience, exit=True)  # ends C code that hangs, too
                answer, pixels = _answer(Request(*fields))
                faulthandler.cancel_dump_traceback_later()
                answers.write(json.dumps(answer).encode() + b"\n")
                answers.write(pixels)
                answers.flush()


def _answer(request: Request) -> tuple[dict, bytes | memoryview]:
    """What answers a request. The file is read once, so that the digest is that of the bytes that are decoded."""
    try:
        with guarded():
            with file_of(request.path) as file:
                content = file.read()
            digest = hashlib.sha256(content).hexdigest()
            if request.digest is None:
                return {"bytes": len(content), "digest": digest, **read_header(content, request.max_pixels)}, b""
            if digest != request.digest:
                raise PictureError("it has changed since it was scanned: scan the folder again")
            how = {"frame": request.frame, "background": request.background, "max_pixels": request.max_pixels}
            image, size = open_for(request.side, content, **how)
            rgb = np.asarray(image)
            return {"shape": rgb.shape, "size": size}, rgb.data
    except AmulsearchError as error:
        return {"reason": str(error)}, b""
