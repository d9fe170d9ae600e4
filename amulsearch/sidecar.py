"""An index on disk is two files: its own, and a JSON sidecar that says what it is of. They are checked together."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from .errors import StoreError
from .store import read_json, write_json

FORMAT = 1


def ids_digest(ids: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(map(repr, ids)).encode()).hexdigest()


def save_with_sidecar(path: Path, write, sidecar: dict) -> Path:
    """Write both files so that a sidecar never stands beside an index it does not belong to."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        path.with_suffix(".json").unlink(missing_ok=True)
        os.replace(temporary, path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()
    write_json(path.with_suffix(".json"), {**sidecar, "file_bytes": path.stat().st_size})
    return path


def open_sidecar(path: Path, cls: type) -> tuple[Path, dict]:
    """The path and its sidecar, checked against each other: a wrong width alone can crash the process in Annoy."""
    if not path.exists():
        raise StoreError(f"there is no index {path}")
    sidecar = read_json(path.with_suffix(".json"))
    if sidecar.get("format") != FORMAT:
        raise StoreError(f"{path} has format {sidecar.get('format')}, and this amulsearch reads {FORMAT}: update it")
    if sidecar.get("kind") != cls.__name__:
        raise StoreError(f"{path} was saved by {sidecar.get('kind')}: open it with that class")
    if path.stat().st_size != sidecar["file_bytes"]:
        raise StoreError(f"{path} has {path.stat().st_size} bytes instead of {sidecar['file_bytes']}: build it anew")
    if ids_digest(sidecar["ids"]) != sidecar["ids_digest"] or len(sidecar["ids"]) != len(sidecar["labels"]):
        raise StoreError(f"the ids beside {path} were changed: build the index anew")
    return path, sidecar
