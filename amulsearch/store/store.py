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
import shutil
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
from .database import NAME, REMEDY, Database
from .files import inside, locked
from .index_files import IndexFiles, other_forms
from .vector_file import VectorFile, key_of


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
        If the folder is a file or holds something else; on first use, if the database is damaged or has another format.

    Examples
    --------
    >>> import tempfile
    >>> import amulsearch as am
    >>> birds = am.Collection.from_folder("data/openclipart/animals/birds", progress=False)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     numbers = am.Store(folder).register(birds)
    ...     store = am.Store.open(folder)
    ...     store.collection().ids == birds.ids
    True
    >>> numbers[:3].tolist()
    [1, 2, 3]
    """

    def __init__(self, folder: str | os.PathLike):
        self.folder = check_path(folder, "the folder of the store")
        if self.folder.exists() and not self.folder.is_dir():
            raise StoreError(f"{self.folder} is a file: give a folder for the store")
        self.database = Database(self.folder)
        if not self.database.path.exists() and self.foreign():
            raise StoreError(f"{self.folder} is neither a store nor empty: give another folder for the store")
        self.indexes = IndexFiles(self.database)

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Store:
        """Open a store that exists; StoreError if there is none, or it is damaged or has another format."""
        store = cls(folder)
        if store._fact("folder") is None:
            command = f"`amulsearch index FOLDER --store {as_argument(store.folder)}`"
            raise StoreError(f"{store.folder} is not a store: create one with {command}")
        return store

    def foreign(self) -> list[str]:
        """List the names in the folder that no store has."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.exists() else []
        return [name for name in names if name not in ("lock", "vectors", "indexes") and not name.startswith(NAME)]

    def lock(self, *, wait: bool = True) -> AbstractContextManager[None]:
        """Hold the lock of the store while something is written, a context manager; StoreError if another process
        holds it and `wait` is false, or the store cannot be written to."""
        return locked(self.folder / "lock", wait=wait)

    def _fact(self, name: str):
        entry = next(self.database.select("facts", "WHERE name = ?", (name,)), None)
        return json.loads(entry[1]) if entry else None

    @property
    def revision(self) -> str:
        """A word that is another one whenever pictures were added to the table or taken from it; "" without a table."""
        return self._fact("revision") or ""

    @property
    def opening(self) -> dict:
        """How the pictures of the collection are opened, see `Collection.opening`; empty without a collection."""
        return self._fact("opening") or {}

    def register(self, collection: Collection) -> np.ndarray:
        """Give each picture of a collection a number that never changes, and return these (N,), from 1."""
        # A changed file is another picture. The first collection becomes the table of the store; `save_collection`
        # changes it afterwards.
        with self.database.transaction():
            known, table = self._known(), collection.table
            pairs = zip(table["id"], table["digest"], strict=True)
            numbers = np.array([known.get(pair, 0) for pair in pairs], dtype=np.int64)
            folder = self._fact("folder")
            others = folder not in (None, str(collection.folder)) and not numbers.any()
            if others and {digest for _, digest in known}.isdisjoint(table["digest"]):  # they may have been renamed too
                other = f"use another store for {collection.folder}"
                raise StoreError(f"{self.folder} is the store of {folder}: {other}")
            new = np.flatnonzero(numbers == 0)
            numbers[new] = 1 + max(known.values(), default=0) + np.arange(len(new))
            self.database.insert("pictures", _entries(table.iloc[new], numbers[new], present=0))
            if folder is None:
                self.save_collection(collection, numbers)
        return numbers

    def contents(self, numbers: np.ndarray) -> np.ndarray:
        """Return, for each picture, the number by which its vectors are known: the first with the same bytes."""
        firsts = "SELECT number, MIN(number) OVER (PARTITION BY digest) AS first FROM pictures"
        first_of = dict(self.database.query(f"SELECT number, first FROM ({firsts}) WHERE number > first"))
        return np.array([first_of.get(number, number) for number in numbers.tolist()], dtype=np.int64)

    def _known(self) -> dict[tuple[str, str], int]:
        """The number of each picture, by id and digest."""
        pictures = self.database.query("SELECT number, id, digest FROM pictures")
        return {(id, digest): number for number, id, digest in pictures}

    def save_collection(self, collection: Collection, numbers: np.ndarray, current: Iterable[Mapping] = ()) -> None:
        """Make a collection the table of the store; a part of one (`Collection.part`) leaves an earlier table as it is.

        current: fingerprints of the features that become the latest of their model and layer.
        """
        with self.database.transaction():
            if not collection.part or self._fact("folder") is None:
                self._save_table(collection, numbers)
            (latest,) = next(self.database.query("SELECT COALESCE(MAX(used), 0) FROM features"))
            keys = ((latest + 1, key_of(made_by)) for made_by in current)
            self.database.change("features", "UPDATE features SET used = ? WHERE fingerprint = ?", keys)

    def _save_table(self, collection: Collection, numbers: np.ndarray) -> None:
        table = collection.table
        if "keywords" not in table and (kept := self._keywords()):
            table = table.assign(keywords=[kept.get(id, []) for id in table["id"]])
        before = {entry[0]: hash(entry) for entry in self.database.select("pictures", "WHERE present")}
        same_pictures = before.keys() == set(numbers.tolist())
        entries = _entries(table, numbers, present=1)
        changed = [entry for entry in entries if before.pop(entry[0], None) != hash(entry)]
        gone = zip(before)
        self.database.change("pictures", "UPDATE pictures SET present = 0 WHERE number = ?", gone)
        self.database.insert("pictures", changed)
        facts = {
            "folder": str(collection.folder),
            "opening": collection.opening,
            "passed_over": dict(collection.passed_over),
            "rejected": dict(zip(collection.rejected["id"], collection.rejected["reason"], strict=True)),
        }
        if not (same_pictures and self.revision):
            facts["revision"] = token_hex(8)
        self.database.insert("facts", ((name, json.dumps(value)) for name, value in facts.items()))

    def _keywords(self) -> dict[str, list[str]]:
        """The keywords by id; none of a collection without keywords."""
        words = self.database.query("SELECT id, keywords FROM pictures WHERE present AND keywords IS NOT NULL")
        return {id: json.loads(keywords) for id, keywords in words}

    def collection(self, ids: Sequence[str] | None = None) -> Collection:
        """Return the collection as it was last saved, or only these pictures of it, by any form of their ids; others
        are then not read, and unknown ids left out."""
        rest, wanted = "WHERE present ORDER BY id", ()
        if ids is not None:
            rest = "WHERE present AND id IN (SELECT value FROM json_each(?)) ORDER BY id"
            wanted = (json.dumps(self._named(set(ids))),)
        table = pd.DataFrame(self.database.select("pictures", rest, wanted), columns=FIELDS["pictures"], dtype=object)
        for id in filter(leads_out, table["id"]):
            raise StoreError(f"{self.folder} names {id!r}, which is outside its folder: do not use this store")
        integers = table[["width", "height", "frames", "bytes"]].astype(np.int64)
        columns = table[COLUMNS].assign(**integers)
        if table["keywords"].notna().any():
            columns["keywords"] = [json.loads(words or "[]") for words in table["keywords"]]
        rejected = pd.DataFrame(sorted((self._fact("rejected") or {}).items()), columns=["id", "reason"])
        how = {"passed_over": self._fact("passed_over") or {}, **self.opening, "part": ids is not None}
        return Collection(Path(self._fact("folder")), plain_text(columns), plain_text(rejected), **how)

    def _named(self, ids: set[str]) -> list[str]:
        """The ids of the table that these are, in any form."""
        known = "SELECT id FROM pictures WHERE id = ? AND present"
        exact = {id for name in ids for (id,) in self.database.query(known, (name,))}
        forms = other_forms(self.database) if ids - exact else {}
        return sorted(exact | {forms[name] for name in ids - exact} - {None})

    def find(self, ids: Sequence[str], digests: Sequence[str]) -> np.ndarray:
        """Return the numbers (N,) of pictures that were registered; StoreError if one of them was not."""
        known = self._known()
        try:
            return np.array([known[pair] for pair in zip(ids, digests, strict=True)], dtype=np.int64)
        except KeyError as error:
            id = error.args[0][0]
            raise StoreError(f"{self.folder} does not hold {id!r}: extract the features with it") from None

    def name_only(self, ids: Sequence[str], labels: Sequence[str | None]) -> np.ndarray:
        """Keep names without a collection, for an index that is saved by itself; their numbers replace earlier ones."""
        if self._fact("folder") is not None:
            raise StoreError(f"{self.folder} is the store of a collection: give another path for the index")
        numbers = np.arange(1, len(ids) + 1)
        nothing = repeat(None)
        with self.database.transaction():
            self.database.change("pictures", "DELETE FROM pictures")
            entries = zip(numbers.tolist(), ids, repeat(""), repeat(1), labels, *(nothing,) * 6)
            self.database.insert("pictures", entries)
        return numbers

    def numbers(self) -> np.ndarray:
        """Return the numbers (N,) int64 of the pictures in the table, in the order of their ids."""
        pictures = self.database.query("SELECT number FROM pictures WHERE present ORDER BY id")
        return np.fromiter((number for (number,) in pictures), np.int64)

    def vectors(self, fingerprint: Mapping) -> VectorFile:
        """Open the vectors of a fingerprint (model, layer and all else that determines them); there may be none yet."""
        return VectorFile(self.database, fingerprint)

    def forget(self, feature: int) -> None:
        """Delete the vectors of a fingerprint, by its number in the table `features`; `tidy` then deletes the file."""
        with self.database.transaction():
            for table in ("features", "chunks"):
                self.database.change(table, f"DELETE FROM {table} WHERE feature = ?", [(feature,)])

    def leftovers(self) -> list[Path]:
        """List the vector files and folders of indexes that the database does not name, as interrupted runs leave."""
        files = self.database.query("SELECT file FROM features UNION SELECT 'indexes/' || folder FROM indexes")
        named = {self.folder / file for (file,) in files}
        there = [path for name in ("vectors", "indexes") for path in inside(self.folder, name).glob("*")]
        return sorted(set(there) - named)

    def tidy(self) -> None:
        """Delete `leftovers`; the caller holds the lock of the store."""
        for path in self.leftovers():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(PermissionError):  # on Windows, while it is mapped into memory
                    path.unlink(missing_ok=True)

    def backends(self, fingerprint: Mapping) -> list[str]:
        """List the backends that have computed vectors of a fingerprint (without backend); the one used last first."""
        names = fingerprint["model"], fingerprint["layer"]
        entries = self.database.select("features", "WHERE model = ? AND layer = ? ORDER BY used DESC", names)
        with_backend = map(self._fingerprint, entries)
        return [each["backend"] for each in with_backend if each == {**fingerprint, "backend": each.get("backend")}]

    def current(self) -> dict[tuple[str, str], dict]:
        """Return the fingerprints of the latest features by model and layer, unless pictures are opened otherwise."""
        entries = self.database.select("features", "WHERE used > 0 ORDER BY used, feature")
        latest, opening = {(entry[1], entry[2]): self._fingerprint(entry) for entry in entries}, self.opening
        return {key: made for key, made in latest.items() if opening.items() <= {**opening, **made}.items()}

    def _fingerprint(self, entry: tuple) -> dict:
        try:
            return json.loads(entry[3])
        except (ValueError, RecursionError) as error:  # very deep JSON
            raise StoreError(f"{self.database.path} is damaged ({error}): {REMEDY}") from None

    def features(self) -> Iterator[tuple[dict, np.ndarray]]:
        """Yield fingerprint and vectors (N, D) of features that cover all pictures; row i is `collection().ids[i]`."""
        numbers, current = self.contents(self.numbers()), self.current()
        files = [self.vectors(made_by) for made_by in current.values()]
        whole = [file for file in files if (file.places(numbers) >= 0).all()]
        if not whole:
            raise StoreError(f"{self.folder} holds no features of all its pictures: index the folder again")
        for file in whole:
            yield file.fingerprint, file.take(numbers)


def _entries(table: pd.DataFrame, numbers: np.ndarray, present: int) -> Iterator[tuple]:
    """The entries of the table `pictures` for a collection's table."""
    keywords = map(json.dumps, table["keywords"]) if "keywords" in table else repeat(None)
    columns = (table[name].tolist() for name in ("id", "digest", "width", "height", "format", "frames", "bytes"))
    id, digest, *header = columns
    return zip(numbers.tolist(), id, digest, repeat(present), map(label_text, table["label"]), *header, keywords)
