"""The names of an index's pictures: in lists, or in the database of a store, where only those asked for are read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from ..errors import StoreError
from ..intake import ByName
from .database import REMEDY, Database


def other_forms(database: Database) -> ByName:
    """Return the ids of a store that can be typed in several forms, by any of them."""
    names = database.query("SELECT id FROM pictures WHERE present AND id GLOB '*[^ -~]*'")
    return ByName({id: id for (id,) in names})


class Names:
    """The ids and labels of N pictures, in lists.

    Parameters
    ----------
    ids : list of N str
    labels : list of N str or None
    """

    def __init__(self, ids: list[str], labels: list[str | None]):
        self.ids, self.labels = ids, labels

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _place_of(self) -> ByName:
        return ByName({id: place for place, id in enumerate(self.ids)})

    def place(self, id: str) -> int | None:
        """Return the place of an id, or None."""
        return self._place_of[id]

    def at(self, places: Sequence[int]) -> tuple[list[str], list[str | None]]:
        """Return the ids and the labels at these places."""
        return [self.ids[place] for place in places], [self.labels[place] for place in places]


class StoredNames:
    """The ids and labels of the pictures of a saved index, looked up in the database.

    Parameters
    ----------
    database : Database
    rows : ndarray of shape (N,), int64
        The row of each picture.
    """

    def __init__(self, database: Database, rows: np.ndarray):
        self._database, self._rows = database, rows

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def ids(self) -> list[str]:
        """All ids, in the order of the index."""
        return self._all("id")

    @cached_property
    def labels(self) -> list[str | None]:
        """All labels, in the order of the index."""
        return self._all("label")

    def _all(self, column: str) -> list:
        found = dict(self._database.query(f"SELECT row, {column} FROM pictures"))
        try:
            return [found[row] for row in self._rows.tolist()]
        except KeyError:
            raise StoreError(f"{self._database.path} lacks pictures of the index: {REMEDY}") from None

    def place(self, id: str) -> int | None:
        """Return the place of an id, or None."""
        if (place := self._place(id)) is None and (name := other_forms(self._database)[id]) is not None:
            return self._place(name)
        return place

    def _place(self, id: str) -> int | None:
        for (row,) in self._database.query("SELECT row FROM pictures WHERE id = ?", (id,)):
            places = np.flatnonzero(self._rows == row)
            if len(places):
                return int(places[0])
        return None

    def at(self, places: Sequence[int]) -> tuple[list[str], list[str | None]]:
        """Return the ids and the labels at these places."""
        found = {}
        rows = self._rows[np.asarray(places, dtype=np.int64)].tolist()
        for start in range(0, len(rows), 500):
            part = rows[start : start + 500]
            marks = ", ".join("?" * len(part))
            for entry in self._database.select("pictures", f"WHERE row IN ({marks})", part):
                found[entry[0]] = entry[1], entry[4]
        try:
            named = [found[row] for row in rows]
        except KeyError:
            raise StoreError(f"{self._database.path} lacks pictures of the index: {REMEDY}") from None
        return [id for id, _ in named], [label for _, label in named]
