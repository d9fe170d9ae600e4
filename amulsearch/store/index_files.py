"""The saved indexes of a store: each has a folder of its own, and an entry in the database that describes it.

A new index is written to a new folder; the entry then names that folder in place of the old one, which is deleted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..errors import StoreError
from .database import Database
from .files import DIGESTED, file_digest, inside, sync, unwritable

AGAIN = "build the index again"


@dataclass(frozen=True)
class SavedIndex:
    """The entry of a saved index.

    Attributes
    ----------
    folder : Path
        The folder of its files.
    about : dict
        What it was saved with.
    rows : ndarray of shape (N,), int64
        The picture of each vector, by its row in the database.
    """

    folder: Path
    about: dict
    rows: np.ndarray


class IndexFiles:
    """The saved indexes of a store, by name.

    Parameters
    ----------
    database : Database
    """

    def __init__(self, database: Database):
        self._database = database

    @property
    def folder(self) -> Path:
        """The folder that holds those of the indexes."""
        return inside(self._database.path.parent, "indexes")

    def names(self) -> list[str]:
        """Return the names of all saved indexes, in alphabetical order."""
        return [name for (name,) in self._database.query("SELECT name FROM indexes ORDER BY name")]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def save(self, name: str, about: dict, rows: np.ndarray, write: Callable[[Path], None]) -> Path:
        """Save an index, in place of an earlier one of this name; `tidy` then deletes the files of that.

        Parameters
        ----------
        name : str
        about : dict
            The description of the index, as plain values; `write` may still add to it.
        rows : ndarray of shape (N,), int64
            The picture of each vector, by its row in the database.
        write : callable
            Writes the files of the index to a folder.

        Returns
        -------
        Path
            The folder of the files.

        Raises
        ------
        StoreError
            If a file cannot be written; an earlier index of this name is then kept.
        """
        folder = self._free(name)
        try:
            folder.mkdir(parents=True)
            write(folder)
            files = {}
            for path in sorted(folder.iterdir()):
                sync(path)
                files[path.name] = path.stat().st_size, file_digest(path)
            sync(folder)
            sync(self.folder)
            relative = folder.relative_to(self.folder).as_posix()
            with self._database.transaction():
                entry = (name, json.dumps(about), np.asarray(rows, np.int64).tobytes(), relative, json.dumps(files))
                self._database.insert("indexes", [entry])
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise unwritable(self.folder, error) from None
            raise
        return folder

    def _free(self, name: str) -> Path:
        """A path for the folder of an index that nothing has."""
        number = 1
        while (folder := self.folder / f"{quote(name, safe=' ')[:150]}-{number}").exists():
            number += 1
        return folder

    def about(self, name: str) -> dict:
        """Return the description of a saved index, without its files; empty if there is none."""
        found = next(self._database.select("indexes", "WHERE name = ?", (name,)), None)
        return json.loads(found[1]) if found else {}

    def open(self, name: str, *, whole: bool = False) -> SavedIndex:
        """Look up a saved index and verify its files: their sizes, and the digests of those of at most 16 MiB.

        Parameters
        ----------
        name : str
        whole : bool, default False
            Verify the digests of all files, whatever their size.

        Returns
        -------
        SavedIndex

        Raises
        ------
        StoreError
            If there is no such index, or a file is missing or damaged.
        """
        found = next(self._database.select("indexes", "WHERE name = ?", (name,)), None)
        if found is None:
            raise StoreError(f"there is no index {name!r} in {self._database.path.parent}: build one and save it there")
        folder = inside(self.folder, found[3])
        for file, (size, digest) in json.loads(found[4]).items():
            path = inside(folder, file)
            if not path.is_file():
                raise StoreError(f"{path} is missing: {AGAIN}")
            if path.stat().st_size != size:
                raise StoreError(f"{path} has {path.stat().st_size} bytes instead of {size}: {AGAIN}")
            if (whole or size <= DIGESTED) and file_digest(path) != digest:
                raise StoreError(f"{path} was changed or damaged after it was written: {AGAIN}")
        return SavedIndex(folder, json.loads(found[1]), np.frombuffer(found[2], np.int64))

    def remove(self, name: str) -> None:
        """Delete a saved index.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM indexes WHERE name = ?", (name,))
        self.tidy()

    def leftovers(self) -> list[Path]:
        """List the folders that belong to no index: those of replaced ones, and what interrupted runs left."""
        own = {self.folder / folder for (folder,) in self._database.query("SELECT folder FROM indexes")}
        return sorted(set(self.folder.iterdir()) - own) if self.folder.is_dir() else []

    def tidy(self) -> None:
        """Delete `leftovers`; the caller holds the lock of the store."""
        for path in self.leftovers():
            if path.is_symlink():
                path.unlink()
            shutil.rmtree(path, ignore_errors=True)
