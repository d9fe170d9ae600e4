"""The saved indexes of a store: each has a folder of its own, and an entry in the database that describes it.

A new index is written to a new folder; the entry then names that folder in place of the old one, which is deleted.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import numpy as np

from ..errors import StoreError
from ..intake import ByName, file_digest
from .database import REMEDY, Database
from .files import DIGESTED, inside, sync, unwritable

AGAIN = "build the index again"
NUMBERS = "pictures.i64"
"""The file that says which pictures an index holds, by their numbers in the database."""


class Names:
    """The ids and labels of N pictures, in lists."""

    def __init__(self, ids: list[str], labels: list[str | None]):
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    def same(self, other: Names | SavedIndex) -> bool:
        """Whether these are the names of the same pictures in the same order."""
        return self is other or self.ids == other.ids

    @cached_property
    def _place_of(self) -> ByName:
        return ByName({id: place for place, id in enumerate(self.ids)})

    def place(self, id: str) -> int | None:
        """Return the place of an id, or None."""
        return self._place_of[id]

    def at(self, places: Sequence[int]) -> tuple[list[str], list[str | None]]:
        """Return the ids and the labels at these places."""
        return [self.ids[place] for place in places], [self.labels[place] for place in places]


class SavedIndex:
    """A saved index: the folder of its files, what it was saved with, and the names of its pictures as `Names`.

    The names are read from the database when they are asked for, and only those.
    """

    def __init__(self, database: Database, folder: Path, about: dict):
        self._database, self.folder, self.about = database, folder, about
        self._numbers = np.fromfile(folder / NUMBERS, np.int64)

    def __len__(self) -> int:
        return len(self._numbers)

    def same(self, other: Names | SavedIndex) -> bool:
        """As `Names.same`; of two indexes of one store, without reading their names."""
        if isinstance(other, SavedIndex) and other._database.path == self._database.path:
            return np.array_equal(self._numbers, other._numbers)
        return self.ids == other.ids

    @cached_property
    def _all(self) -> tuple[list[str], list[str | None]]:
        return self._names(self._numbers)

    @property
    def ids(self) -> list[str]:
        """All ids, in the order of the index."""
        return self._all[0]

    @property
    def labels(self) -> list[str | None]:
        """All labels, in the order of the index."""
        return self._all[1]

    def place(self, id: str) -> int | None:
        """Return the place of an id, in any form, or None."""
        place = self._place(id)
        return self._place(other_forms(self._database)[id]) if place is None else place

    def _place(self, id: str | None) -> int | None:
        numbers = [number for (number,) in self._database.query("SELECT number FROM pictures WHERE id = ?", (id,))]
        places = np.flatnonzero(np.isin(self._numbers, numbers))
        return int(places[0]) if len(places) else None

    def at(self, places: Sequence[int]) -> tuple[list[str], list[str | None]]:
        """Return the ids and the labels at these places."""
        return self._names(self._numbers[np.asarray(places, dtype=np.int64)])

    def _names(self, numbers: np.ndarray) -> tuple[list[str], list[str | None]]:
        """The ids and the labels of pictures."""
        wanted = numbers.tolist()
        statement = "SELECT number, id, label FROM pictures WHERE number IN (SELECT value FROM json_each(?))"
        names = {number: name for number, *name in self._database.query(statement, (json.dumps(wanted),))}
        if not names.keys() >= set(wanted):
            raise StoreError(f"{self._database.path} lacks pictures of the index: {REMEDY}")
        return [names[number][0] for number in wanted], [names[number][1] for number in wanted]


def other_forms(database: Database) -> ByName:
    """The ids of a store that can be typed in several forms, by any of them."""
    names = database.query("SELECT id FROM pictures WHERE present AND id GLOB '*[^ -~]*'")
    return ByName({id: id for (id,) in names})


class IndexFiles:
    """The saved indexes of a store, by name."""

    def __init__(self, database: Database):
        self._database = database

    @property
    def _folder(self) -> Path:
        return inside(self._database.path.parent, "indexes")

    def names(self) -> list[str]:
        """Return the names of all saved indexes, in alphabetical order."""
        return [name for (name,) in self._database.query("SELECT name FROM indexes ORDER BY name")]

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def save(self, name: str, about: dict, numbers: np.ndarray, write: Callable[[Path], None]) -> None:
        """Save an index of pictures in place of an earlier one of this name, of which `tidy` then deletes the files.

        `write` writes the files of the index to a folder, and may add to `about`, what describes the index. If it
        fails, the earlier index is kept.
        """
        folder = self._folder / f"{quote(name, safe=' ')[:150]}-{token_hex(4)}"
        try:
            folder.mkdir(parents=True)
            write(folder)
            np.asarray(numbers, np.int64).tofile(folder / NUMBERS)
            files = {}
            for path in sorted(folder.iterdir()):
                sync(path)
                files[path.name] = path.stat().st_size, file_digest(path)
            sync(folder)
            sync(self._folder)
            self._database.insert("indexes", [(name, json.dumps(about), folder.name, json.dumps(files))])
        except BaseException as error:
            shutil.rmtree(folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise unwritable(self._folder, error) from None
            raise

    def _entry(self, name: str) -> tuple | None:
        return next(self._database.select("indexes", "WHERE name = ?", (name,)), None)

    def about(self, name: str) -> dict:
        """Return the description of a saved index, without its files; empty if there is none."""
        entry = self._entry(name)
        return json.loads(entry[1]) if entry else {}

    def open(self, name: str, *, whole: bool = False) -> SavedIndex:
        """Open a saved index and verify the sizes of its files and the digests of those up to 16 MiB; whole: of all."""
        entry = self._entry(name)
        if entry is None:
            raise StoreError(f"there is no index {name!r} in {self._database.path.parent}: build one and save it there")
        folder = inside(self._folder, entry[2])
        for file, (size, digest) in json.loads(entry[3]).items():
            path = inside(folder, file)
            intact = path.is_file() and path.stat().st_size == size
            if intact and (whole or size <= DIGESTED):
                intact = file_digest(path) == digest
            if not intact:
                raise StoreError(f"{path} was changed, damaged or deleted after it was written: {AGAIN}")
        return SavedIndex(self._database, folder, json.loads(entry[1]))

    def remove(self, name: str) -> None:
        """Delete a saved index; `tidy` then deletes its files."""
        self._database.change("indexes", "DELETE FROM indexes WHERE name = ?", [(name,)])
