"""Downloads of weights: into the folder of torch's checkpoints, continued where they broke off."""

from __future__ import annotations

import os
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from ..errors import ModelError
from .checkpoints import check_digest


def cache_folder() -> Path:
    """Return the folder of torch's downloaded checkpoints: $TORCH_HOME/hub/checkpoints, by default below ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME", os.path.join(base, "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def download(url: str, path: Path, sha256: str) -> None:
    """Download a file, showing progress.

    What arrives is kept beside `path`, with the ending .part, until the file is complete and its digest is right; the
    next attempt continues from there.

    Parameters
    ----------
    url : str
    path : Path
    sha256 : str
        The first digits of the file's digest; empty if they are not known, and then nothing is continued.

    Raises
    ------
    ModelError
        If the connection breaks off, or the file is not the expected one.
    OSError, HTTPException, ValueError
        What urllib raises if the file cannot be had.
    """
    from filelock import FileLock

    part, lock = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock):  # two processes must not append to one file
            if path.is_file():
                return
            try:
                _receive(url, part, part.stat().st_size if sha256 and part.exists() else 0)
            except HTTPError as error:
                if error.code != 416:  # there is nothing left to send
                    raise
            try:
                check_digest(part, sha256, "try again")
            except ModelError:
                part.unlink()
                raise ModelError(f"the download of {url} was damaged in transit: try again") from None
            os.replace(part, path)
    finally:
        with suppress(OSError):  # a process that waits for it holds it open
            lock.unlink()


def _receive(url: str, part: Path, have: int) -> None:
    """Write a file to `part`, continuing it if it has `have` bytes and the server can."""
    from tqdm.auto import tqdm

    asked = Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urlopen(asked, timeout=20) as answer, part.open("ab" if answer.status == 206 else "wb") as file:
        have = file.tell()
        whole = have + int(answer.headers["Content-Length"] or 0)
        bar = tqdm(total=whole, initial=have, desc=part.stem, unit="B", unit_scale=True, delay=1, disable=None)
        with bar, suppress(ConnectionError, TimeoutError, HTTPException):  # told below
            while block := answer.read(1 << 20):
                bar.update(file.write(block))
        if (have := file.tell()) < whole:
            raise ModelError(f"the download of {url} broke off at {have:,} of {whole:,} bytes: run the same again")
