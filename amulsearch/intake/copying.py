"""Copy pictures of a collection to a folder."""

import hashlib
import os
from collections.abc import Iterable
from itertools import count
from pathlib import Path

from ..errors import PictureError, QueryError, check_output
from .collection import Collection
from .decoding import Request
from .outputs import note_outputs


def copy_pictures(collection: Collection, ids: Iterable[str], folder: str | os.PathLike) -> list[Path | PictureError]:
    """Copy the files of pictures to a folder, and overwrite nothing; a file in the folder for each id, or an error.

    If the folder has another file of a name, a number is added, as in "fawn (2).webp"; what it holds already, byte for
    byte, is not copied again. An unknown id is a MissingKeyError before anything is copied.
    """
    requests = [collection.request(id) for id in ids]
    folder = check_output(folder, "the copies", folder=True)
    before = set(folder.iterdir()) if folder.exists() else set()
    copies = [_copied(request, folder) for request in requests]
    if folder.resolve().is_relative_to(collection.folder):
        note_outputs(copy for copy in copies if isinstance(copy, Path) and copy not in before)
    return copies


def _copied(request: Request, folder: Path) -> Path | PictureError:
    source = Path(request.path)
    try:
        content = source.read_bytes()
    except OSError as error:
        return PictureError(f"{source} cannot be read: {error.strerror or error}")
    if hashlib.sha256(content).hexdigest() != request.digest:
        return PictureError(f"{source} has changed since it was indexed: index the folder again")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _written(folder, source, content)
    except OSError as error:
        raise QueryError(f"{folder} cannot be written to: {error.strerror or error}") from None


def _written(folder: Path, source: Path, content: bytes) -> Path:
    """The file in the folder that has this content, written if there is none."""
    for number in count(1):
        path = folder / (source.name if number == 1 else f"{source.stem} ({number}){source.suffix}")
        try:
            with path.open("xb") as file:
                file.write(content)
            return path
        except FileExistsError:
            if path.is_file() and path.read_bytes() == content:
                return path
        except OSError:
            path.unlink(missing_ok=True)  # it is incomplete
            raise
