"""Copy pictures of a collection to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import PictureError, QueryError
from .collection import Collection


def copy_pictures(collection: Collection, ids: Iterable[str], folder: str | os.PathLike) -> list[Path]:
    """Copy the files of pictures to a folder, and overwrite nothing.

    A file keeps its name; if the folder has another file of this name, a number is added, as in "fawn (2).webp". A
    file that the folder holds already, byte for byte, is not copied again.

    Parameters
    ----------
    collection : Collection
    ids : iterable of str
    folder : path
        Made if it does not exist.

    Returns
    -------
    list of Path
        The files in the folder, one for each id.

    Raises
    ------
    MissingKeyError
        For an unknown id, before anything is copied.
    QueryError
        If the folder cannot be written to.
    PictureError
        If a file can no longer be read.
    """
    folder, sources = Path(folder).expanduser(), [collection.path(id) for id in ids]
    found = []
    for source in sources:
        try:
            content = source.read_bytes()
        except OSError as error:
            raise PictureError(f"{source} cannot be read: {error.strerror or error}") from None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found.append(_kept(folder, source, content))
        except OSError as error:
            raise QueryError(f"{folder} cannot be written to: {error.strerror or error}") from None
    return found


def _kept(folder: Path, source: Path, content: bytes) -> Path:
    """The file in the folder that has this content, written if there is none."""
    number = 1
    while True:
        path = folder / (source.name if number == 1 else f"{source.stem} ({number}){source.suffix}")
        try:
            with path.open("xb") as file:
                file.write(content)
            return path
        except FileExistsError:
            if path.is_file() and path.read_bytes() == content:
                return path
            number += 1
