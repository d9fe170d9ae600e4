"""An index on disk is two files: its own, and a JSON sidecar that says what it is of; a third holds fitted transforms.

Opening checks that they belong together: the sidecar is sealed and names the size and the SHA-256 of the index. The
SHA-256 is compared where the index is small (`files.DIGESTED`); of a large one, which opens in milliseconds because it
is not read, only by `check`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import StoreError
from .files import DIGESTED, file_digest, read_json, replacing, write_sealed

FORMAT = 3
REMEDY = "build the index anew"


def save_with_sidecar(
    path: Path, write: Callable[[Path], None], sidecar: dict, write_fitted: Callable[[Path], None] | None = None
) -> Path:
    """Write all files or none; a sidecar never stands beside an index that it does not belong to."""
    fitted = path.with_suffix(".npz")
    with replacing(path, *([fitted] if write_fitted else []), path.with_suffix(".json")) as temporaries:
        write(temporaries[0])
        if write_fitted:
            write_fitted(temporaries[1])
        size = temporaries[0].stat().st_size
        write_sealed(
            temporaries[-1],
            {"format": FORMAT, **sidecar, "file_bytes": size, "file_digest": file_digest(temporaries[0])},
        )
    if not write_fitted:
        with suppress(OSError):
            fitted.unlink()
    return path


def open_sidecar(path: Path, cls: type, *, whole: bool = False) -> tuple[Path, dict]:
    """The path and its sidecar, checked against each other: a wrong width alone can crash the process in Annoy.

    whole: compare the digest of the index whatever its size.
    """
    if not path.exists():
        raise StoreError(f"there is no index {path}")
    sidecar = read_json(path.with_suffix(".json"), FORMAT, REMEDY)
    if sidecar.get("kind") != cls.__name__:
        raise StoreError(f"{path} was saved by {sidecar.get('kind')}: open it with that class")
    size = path.stat().st_size
    if size != sidecar["file_bytes"]:
        raise StoreError(f"{path} has {size} bytes instead of {sidecar['file_bytes']}: {REMEDY}")
    if (whole or size <= DIGESTED) and file_digest(path) != sidecar["file_digest"]:
        raise StoreError(f"{path} was changed or damaged after it was written: {REMEDY}")
    return path, sidecar
