"""Copy pictures of a collection to a folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import PictureError, QueryError, check_output
from .collection import Collection
from .outputs import note_outputs


def copy_pictures(collection: Collection, ids: Iterable[str], folder: str | os.PathLike) -> list[Path | PictureError]:
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
    list of Path or PictureError
        The files in the folder, one for each id; an error in place of a file that cannot be read, or has
        changed since it was indexed.

    Raises
    ------
    MissingKeyError
        For an unknown id, before anything is copied.
    QueryError
        If the folder cannot be written to.
    """
    requests = [collection.request(id) for id in ids]
    folder, found = check_output(folder, "the copies", folder=True), []
    before = set(folder.iterdir()) if folder.exists() else set()
    for source, digest, *_ in requests:
        try:
            content = Path(source).read_bytes()
        except OSError as error:
            found.append(PictureError(f"{source} cannot be read: {error.strerror or error}"))
            continue
        if hashlib.sha256(content).hexdigest() != digest:
            found.append(PictureError(f"{source} has changed since it was indexed: index the folder again"))
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found.append(_kept(folder, Path(source), content))
        except OSError as error:
            raise QueryError(f"{folder} cannot be written to: {error.strerror or error}") from None
    if folder.resolve().is_relative_to(collection.folder):
        note_outputs(one for one in found if isinstance(one, Path) and one not in before)
    return found


def _kept(folder: Path, source: Path, content: bytes) -> Path:
    """The file in the folder that has this content, written if there is none."""
    number = 1
    while True:
        path = folder / (source.name if number == 1 else f"{source.stem} ({number}){source.suffix}")
        try:
            file = path.open("xb")
        except FileExistsError:
            if path.is_file() and path.read_bytes() == content:
                return path
            number += 1
            continue
        try:
            with file:
                file.write(content)
        except BaseException:
            path.unlink(missing_ok=True)  # it is incomplete
            raise
        return path
