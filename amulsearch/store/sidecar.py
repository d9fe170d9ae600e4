"""The files of a saved index: the index itself, a JSON sidecar that describes it and, if needed, fitted transforms.

Opening verifies that they belong together: the sidecar is sealed and holds the size and the SHA-256 of the index. The
SHA-256 of a small index (`files.DIGESTED`) is always compared; that of a large one, which opens in milliseconds because
it is not read, only by `check`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..errors import StoreError
from .files import DIGESTED, file_digest, read_json, replacing, write_sealed

FORMAT = 3
REMEDY = "build the index again"


def save_with_sidecar(
    path: Path, write: Callable[[Path], None], sidecar: dict, write_fitted: Callable[[Path], None] | None = None
) -> Path:
    """Write an index and its sidecar, all files or none.

    Parameters
    ----------
    path : Path
        The file of the index; the sidecar has the extension .json, fitted transforms .npz.
    write : callable
        Writes the index to a path.
    sidecar : dict
        The description of the index.
    write_fitted : callable, optional
        Writes the fitted transforms to a path.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    StoreError
        If a file cannot be written.
    """
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
    """Read the sidecar of an index and verify that the two belong together.

    Without this check, a wrong width would be enough to crash the process in Annoy.

    Parameters
    ----------
    path : Path
        The file of the index.
    cls : type
        The class that must have saved it.
    whole : bool, default False
        Compare the digest of the index whatever its size.

    Returns
    -------
    path : Path
        The file of the index.
    sidecar : dict
        Its description.

    Raises
    ------
    StoreError
        If a file is missing, damaged or changed, or another class saved the index.
    """
    if not path.exists():
        raise StoreError(f"there is no index {path}: build one and save it there")
    sidecar = read_json(path.with_suffix(".json"), FORMAT, REMEDY)
    if sidecar.get("kind") != cls.__name__:
        raise StoreError(f"{path} was saved by {sidecar.get('kind')}: open it with that class")
    size = path.stat().st_size
    if size != sidecar["file_bytes"]:
        raise StoreError(f"{path} has {size} bytes instead of {sidecar['file_bytes']}: {REMEDY}")
    if (whole or size <= DIGESTED) and file_digest(path) != sidecar["file_digest"]:
        raise StoreError(f"{path} was changed or damaged after it was written: {REMEDY}")
    return path, sidecar
