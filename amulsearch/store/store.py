"""A folder on disk that keeps a collection's table, its features and its indexes.

    store.sqlite    who the pictures are, what the other files hold, see database.py
    vectors/        one append-only file per fingerprint, see vector_file.py
    indexes/        one folder per saved index, see index_files.py
    lock            held by the process that writes

Pictures are named relative to the collection's folder, all other files relative to the store: both can be moved.
Reading writes nothing.
"""

from __future__ import annotations

import json
import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import repeat
from pathlib import Path
from secrets import token_hex

import numpy as np
import pandas as pd

from ..errors import StoreError, as_argument, check_path
from ..intake import COLUMNS, Collection, label_text, leads_out, plain_text
from .database import COLUMNS as FIELDS
from .database import NAME, REMEDY, Database, older, sealed
from .files import PARTIAL, inside, locked
from .index_files import IndexFiles
from .names import other_forms
from .vector_file import VectorFile, key_of

OPENING = ("frame", "background", "max_pixels")
"""The attributes of a collection that say how pictures are opened; they are kept as facts."""


class Store:
    """A folder that keeps the table, features and indexes of one collection.

    `extract` takes a store and computes only the vectors that it lacks.

    Parameters
    ----------
    folder : path
        A store, an empty folder, or a folder that does not exist; it is created at the first write.

    Attributes
    ----------
    folder : Path
        The folder of the store.
    indexes : IndexFiles
        The saved indexes, by name.

    Raises
    ------
    StoreError
        If the folder is a file, holds something else, or a store of before; on first use, if the database is damaged or
        has another format.

    Examples
    --------
    >>> import tempfile
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = am.Store(folder).register(birds)
    ...     store = am.Store.open(folder)
    ...     store.collection() == birds
    True
    >>> rows[:3].tolist()
    [1, 2, 3]
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = check_path(folder, "the folder of the store")
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file: give a folder for the store")
        if (self.folder / "store.json").exists():
            raise older(self.folder)
        self.database = Database(self.folder)
        if not self.database.path.exists() and self.folder.is_dir() and not self._own_only():
            raise StoreError(f"{self.folder} is neither a store nor empty: give another folder for the store")
        self.indexes = IndexFiles(self.database)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Store:
        """Open a store that exists.

        Parameters
        ----------
        folder : path
            The folder of the store.

        Returns
        -------
        Store

        Raises
        ------
        StoreError
            If the folder is not a store, or the store is damaged or has another format.
        """
        store = cls(folder)
        if store._fact("folder") is None:
            command = f"`amulsearch index FOLDER --store {as_argument(store.folder)}`"
            raise StoreError(f"{store.folder} is not a store: create one with {command}")
        return store

    def _own_only(self) -> bool:
        """Whether the folder holds nothing but what an interrupted first run may leave."""
        return all(
            path.name in ("lock", "vectors", "indexes") or path.name.startswith(NAME) or path.name.endswith(PARTIAL)
            for path in self.folder.iterdir()
        )

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the lock of the store, a context manager; reading needs no lock.

        Parameters
        ----------
        wait : bool, default True
            Wait while another process holds the lock.

        Raises
        ------
        StoreError
            If another process holds the lock and `wait` is false, or the store cannot be written to.
        """
        return locked(self.folder / "lock", wait=wait)

    def snapshot(self) -> AbstractContextManager[None]:
        """Return a context manager in which reading sees one state, and nothing can be written."""
        return self.database.snapshot()

    def _fact(self, name: str):
        found = next(self.database.select("facts", "WHERE name = ?", (name,)), None)
        return json.loads(found[1]) if found else None

    @property
    def revision(self) -> str:
        """A word that is another one whenever pictures were added to the table or taken from it; "" without a table."""
        return self._fact("revision") or ""

    @property
    def opening(self) -> dict:
        """How the pictures of the collection are opened, see `Collection.opening`; empty without a collection."""
        return {name: value for name in OPENING if (value := self._fact(name)) is not None}

    def register(self, collection: Collection) -> np.ndarray:
        """Give each picture of a collection its row number, which never changes; a changed file is another picture.

        The first collection becomes the table of the store; `save_collection` changes the table afterwards.

        Parameters
        ----------
        collection : Collection
            Its folder may have been moved.

        Returns
        -------
        ndarray of shape (N,), int64
            The rows, from 1, in the order of the collection.

        Raises
        ------
        StoreError
            If the store belongs to a collection in another folder that has no picture in common with this one, or it
            cannot be written to.
        """
        with self.database.transaction():
            known = self._known()
            table = collection.table
            rows = np.fromiter(map(known.get, zip(table["id"], table["digest"], strict=True), repeat(0)), np.int64)
            folder = self._fact("folder")
            if folder not in (None, str(collection.folder)) and not rows.any():
                digests = {digest for _, digest in known}
                if digests.isdisjoint(table["digest"]):  # they may have been renamed too
                    raise StoreError(
                        f"{self.folder} is the store of {folder}: use another store for {collection.folder}"
                    )
            new = np.flatnonzero(rows == 0)
            rows[new] = 1 + max(known.values(), default=0) + np.arange(len(new))
            self.database.insert("pictures", _entries(table.iloc[new], rows[new], present=0))
            if folder is None:
                self.save_collection(collection, rows)
        return rows

    def contents(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows by which the vectors of pictures are known: of each, the first with the same bytes.

        A file that was renamed or copied thus has the vectors that were computed of it under another name.

        Parameters
        ----------
        rows : ndarray of shape (N,), int64
            Rows of pictures.

        Returns
        -------
        ndarray of shape (N,), int64
        """
        firsts = "SELECT row, MIN(row) OVER (PARTITION BY digest) AS first FROM pictures"
        first_of = dict(self.database.query(f"SELECT row, first FROM ({firsts}) WHERE row > first"))
        return np.array([first_of.get(row, row) for row in rows.tolist()], dtype=np.int64)

    def _known(self) -> dict[tuple[str, str], int]:
        """The row of each picture, by id and digest."""
        return {(id, digest): row for row, id, digest in self.database.query("SELECT row, id, digest FROM pictures")}

    def save_collection(
        self, collection: Collection, rows: np.ndarray, current: Iterable[Mapping] = (), rejected: Iterable[str] = ()
    ) -> None:
        """Make a collection the table of the store; a part of one (`Collection.part`) changes only its own pictures.

        A collection without keywords leaves those that the store has.

        Parameters
        ----------
        collection : Collection
        rows : ndarray of shape (N,), int64
            What `register` returned.
        current : iterable of mapping, optional
            Fingerprints of features that become the current ones of their model and layer.
        rejected : iterable of str, optional
            The ids of pictures that are in `collection.rejected` since they were registered.

        Raises
        ------
        StoreError
            If the store cannot be written to.
        """
        facts = {"folder": str(collection.folder)}
        if not collection.part or self._fact("folder") is None:
            facts |= {"passed_over": collection.passed_over, **collection.opening}
        with self.database.transaction() as connection:
            before = dict(self.database.query("SELECT row, seal FROM pictures WHERE present"))
            seals = [before.pop(row, None) for row in rows.tolist()]
            kept = {} if "keywords" in collection.table else self._keywords()
            pairs = zip(_entries(collection.table, rows, present=1, kept=kept), seals, strict=True)
            entries = [entry for entry, seal in pairs if seal != sealed(*entry)]  # those that are new or have changed
            ids = {entry[1] for entry in entries} | set(rejected)
            gone = [row for row, id in self.names() if row in before and id in ids] if collection.part else list(before)
            values = ", ".join("0" if name == "present" else name for name in FIELDS["pictures"])
            leave = f"UPDATE pictures SET present = 0, seal = sealed({values}) WHERE row = ?"
            connection.executemany(leave, ((row,) for row in gone))
            self.database.insert("pictures", entries)
            self._save_rejected(collection, ids)
            if gone or None in seals or not self.revision:
                facts["revision"] = token_hex(8)
            self.database.insert("facts", ((name, json.dumps(value)) for name, value in facts.items()))
            self._use(current)

    def _keywords(self) -> dict[str, str]:
        """The keywords, as JSON by id, of the pictures that are present; none of a collection without keywords."""
        return dict(self.database.query("SELECT id, keywords FROM pictures WHERE present AND keywords IS NOT NULL"))

    def _save_rejected(self, collection: Collection, ids: Iterable[str]) -> None:
        """Replace the rejected files, or for a part of a collection those with these ids."""
        with self.database.transaction() as connection:
            if collection.part:
                connection.executemany("DELETE FROM rejected WHERE id = ?", ((os.fsencode(id),) for id in ids))
            else:
                connection.execute("DELETE FROM rejected")
            pairs = zip(collection.rejected["id"], collection.rejected["reason"], strict=True)
            self.database.insert("rejected", ((os.fsencode(id), os.fsencode(reason)) for id, reason in pairs))

    def _use(self, current: Iterable[Mapping]) -> None:
        """Note that these features are the latest of their model and layer."""
        latest = next(self.database.query("SELECT COALESCE(MAX(used), 0) FROM features"))[0]
        for made_by in current:
            entries = list(self.database.select("features", "WHERE fingerprint = ?", (key_of(made_by),)))
            self.database.insert("features", ((*entry[:-1], latest + 1) for entry in entries))

    def collection(self, ids: Sequence[str] | None = None) -> Collection:
        """Return the collection as it was last saved.

        Parameters
        ----------
        ids : sequence of str, optional
            Only these pictures, by any form of their ids (see `ByName`); others are not read. Unknown ids are left out.

        Returns
        -------
        Collection

        Raises
        ------
        StoreError
            If the store is damaged, or its table names a picture outside the collection's folder.
        """
        if ids is None:
            found = self.database.select("pictures", "WHERE present ORDER BY id")
        else:
            named = self._named(set(ids))
            asked = (self.database.select("pictures", "WHERE id = ? AND present", (id,)) for id in named)
            found = (entry for entries in asked for entry in entries)
        names, numbers = FIELDS["pictures"][1:], ("present", "width", "height", "frames", "bytes")
        columns = {name: array("q") if name in numbers else [] for name in names}
        known: dict = {}  # one copy of a string that many rows share
        for _, *entry in found:
            self._refuse_outside(entry[0])
            for name, value in zip(names, entry, strict=True):
                columns[name].append(known.setdefault(value, value) if name in ("label", "format") else value)
        keywords = columns.pop("keywords")
        table = {name: np.array(columns[name]) if name in numbers else columns[name] for name in COLUMNS}
        if any(entry is not None for entry in keywords):
            table["keywords"] = [json.loads(entry or "[]") for entry in keywords]
        rejected = [(os.fsdecode(id), os.fsdecode(reason)) for id, reason in self.database.select("rejected")]
        rejected = pd.DataFrame(sorted(rejected), columns=["id", "reason"])
        facts = {"passed_over": self._fact("passed_over") or {}, **self.opening, "part": ids is not None}
        return Collection(Path(self._fact("folder")), plain_text(table), plain_text(rejected), **facts)

    def _named(self, ids: set[str]) -> list[str]:
        """The ids of the table that these are, in any form."""
        known = "SELECT id FROM pictures WHERE id = ? AND present"
        found = {id for asked in ids for (id,) in self.database.query(known, (asked,))}
        forms = other_forms(self.database) if ids - found else {}
        return sorted(found | {forms[id] for id in ids - found} - {None})

    def _refuse_outside(self, id: str) -> None:
        if leads_out(id):
            raise StoreError(
                f"{self.folder} names {id!r}, which is outside its folder of pictures: do not use this store"
            )

    def find(self, ids: Sequence[str], digests: Sequence[str]) -> np.ndarray:
        """Return the rows of pictures that were registered.

        Parameters
        ----------
        ids, digests : sequence of N str

        Returns
        -------
        ndarray of shape (N,), int64

        Raises
        ------
        StoreError
            If one of them was not.
        """
        known = self._known()
        try:
            return np.array([known[pair] for pair in zip(ids, digests, strict=True)], dtype=np.int64)
        except KeyError as error:
            raise StoreError(
                f"{self.folder} does not hold {error.args[0][0]!r}: extract the features with it"
            ) from None

    def name_only(self, ids: Sequence[str], labels: Sequence[str | None]) -> np.ndarray:
        """Make a store of names, without a collection, for an index that is saved by itself.

        Parameters
        ----------
        ids : sequence of N str
        labels : sequence of N str or None

        Returns
        -------
        ndarray of shape (N,), int64
            The rows of the pictures, which replace those of before.

        Raises
        ------
        StoreError
            If the store belongs to a collection, or cannot be written to.
        """
        if self._fact("folder") is not None:
            raise StoreError(f"{self.folder} is the store of a collection: give another path for the index")
        rows = np.arange(1, len(ids) + 1)
        nothing = repeat(None)
        with self.database.transaction() as connection:
            connection.execute("DELETE FROM pictures")
            entries = zip(rows.tolist(), ids, repeat(""), repeat(1), labels, *(nothing,) * 6)
            self.database.insert("pictures", entries)
        return rows

    def names(self) -> Iterator[tuple[int, str]]:
        """Yield the row and the id of each picture in the table, in the order of the ids."""
        return self.database.query("SELECT row, id FROM pictures WHERE present ORDER BY id")

    def rows(self) -> np.ndarray:
        """Return the rows (N,) int64 of the pictures in the table, in the order of their ids."""
        return np.fromiter((row for row, _ in self.names()), np.int64)

    def vectors(self, fingerprint: Mapping) -> VectorFile:
        """Open the vectors of one fingerprint.

        Parameters
        ----------
        fingerprint : mapping
            What determines the vectors: model, layer and other settings.

        Returns
        -------
        VectorFile
            Empty if there are no vectors yet.

        Raises
        ------
        StoreError
            If the database is damaged.
        """
        return VectorFile(self.database, fingerprint)

    def forget(self, feature: int) -> None:
        """Delete the vectors of a fingerprint.

        Parameters
        ----------
        feature : int
            Its number in the table `features`.

        Raises
        ------
        StoreError
            If the store cannot be written to.
        """
        files = [entry[5] for entry in self.database.select("features", "WHERE feature = ?", (feature,))]
        with self.database.transaction() as connection:
            for table in ("features", "chunks"):
                connection.execute(f"DELETE FROM {table} WHERE feature = ?", (feature,))
        for file in files:
            # PermissionError: on Windows, while it is mapped into memory; `check` deletes it then
            with suppress(PermissionError, StoreError):
                inside(self.folder, file).unlink(missing_ok=True)

    def unnamed_vectors(self) -> list[Path]:
        """List the files beside the vector files that belong to no fingerprint."""
        own = {self.folder / entry[5] for entry in self.database.select("features")}
        return sorted(set(inside(self.folder, "vectors").glob("*")) - own)

    def backends(self, fingerprint: Mapping) -> list[str]:
        """List the backends with which vectors of a fingerprint were computed, the one used last first.

        Parameters
        ----------
        fingerprint : mapping
            Without its backend.

        Returns
        -------
        list of str
        """
        names = fingerprint["model"], fingerprint["layer"]
        entries = self.database.select("features", "WHERE model = ? AND layer = ? ORDER BY used DESC", names)
        found = map(self._fingerprint, entries)
        return [made["backend"] for made in found if made == {**fingerprint, "backend": made.get("backend")}]

    def current(self) -> dict[tuple[str, str], dict]:
        """Return the fingerprints of the features extracted last, of pictures opened as the collection opens them.

        Returns
        -------
        dict of (model, layer) to dict
        """
        entries = self.database.select("features", "WHERE used > 0 ORDER BY used, feature")
        found, opening = {(entry[1], entry[2]): self._fingerprint(entry) for entry in entries}, self.opening
        return {key: made for key, made in found.items() if opening.items() <= {**opening, **made}.items()}

    def _fingerprint(self, entry: tuple) -> dict:
        try:
            return json.loads(entry[3])
        except (ValueError, RecursionError) as error:  # very deep JSON
            raise StoreError(f"{self.database.path} is damaged ({error}): {REMEDY}") from None

    def features(self) -> Iterator[tuple[dict, np.ndarray]]:
        """Iterate over the current features that cover every picture; row i belongs to `collection().ids[i]`.

        Yields
        ------
        fingerprint : dict
            What determines the vectors.
        vectors : ndarray of shape (N, D), float32
            Read-only, see `VectorFile.take`.

        Raises
        ------
        StoreError
            If the store has no such features, or they are damaged.

        See Also
        --------
        amulsearch.features.FeatureSet.open : the same features, with ids and labels.
        """
        rows, current = self.contents(self.rows()), self.current()
        if not current:
            raise StoreError(f"{self.folder} holds no features: index the folder again")
        some = False
        for made_by in current.values():
            file = self.vectors(made_by)
            if (file.places(rows) >= 0).all():
                some = True
                yield made_by, file.take(rows)
        if not some:
            raise StoreError(f"{self.folder} lacks features of {', '.join(map(' '.join, current))}: index it again")


def _entries(table: pd.DataFrame, rows: np.ndarray, present: int, kept: Mapping[str, str] = {}) -> Iterator[tuple]:
    """The entries of the table `pictures` for a collection's table; kept: keywords by id, for one without any."""
    keywords = map(json.dumps, table["keywords"]) if "keywords" in table else repeat(None)
    if kept:
        keywords = (kept.get(id, "[]") for id in table["id"])
    columns = (table[name].tolist() for name in ("width", "height", "format", "frames", "bytes"))
    labels = map(label_text, table["label"])
    return zip(
        rows.tolist(), table["id"].tolist(), table["digest"].tolist(), repeat(present), labels, *columns, keywords
    )  # fmt: skip
