"""The vectors of one fingerprint: raw float32 in an append-only file; the database says which picture each belongs to.

A row is first written to the file and then recorded. What an interrupted run wrote after the last recorded row is
ignored, and the next row overwrites it.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..errors import StoreError
from .blockwise import Gathered, blocks
from .database import REMEDY, Database
from .files import DIGESTED, inside, unwritable, write_at

EVERY = 5
"""Seconds between two writes to disk."""

TOGETHER = 5000
"""How many pictures one statement looks up."""

GATHERED = 256 << 20
"""Up to this many bytes, vectors in another order than that of the file are copied; above, they are read as needed."""


class VectorFile:
    """The vectors of one fingerprint in a store.

    Parameters
    ----------
    database : Database
    fingerprint : mapping
        What determines the vectors; at least "model" and "layer".

    Attributes
    ----------
    rows : ndarray of shape (M,), int64
        The picture of each place in the file, by its row in the database; -1 for a place without one.
    """

    def __init__(self, database: Database, fingerprint: Mapping):
        self._database, self.fingerprint = database, dict(fingerprint)
        self._read(next(database.select("features", "WHERE fingerprint = ?", (key_of(fingerprint),)), None))

    @classmethod
    def of_entry(cls, database: Database, entry: tuple) -> VectorFile:
        """Open the file of an entry of the table `features`, which may be damaged."""
        file = cls.__new__(cls)
        file._database, file.fingerprint = database, json.loads(entry[3])
        file._read(entry)
        return file

    def _read(self, found: tuple | None) -> None:
        """Read which pictures the file of an entry holds."""
        self._entry = found
        self._sums = np.empty(0, dtype=np.uint32)
        self.rows = np.empty(0, dtype=np.int64)
        if found:
            chunks = list(self._database.select("chunks", "WHERE feature = ? ORDER BY first", (found[0],)))
            self.rows = np.concatenate([self.rows, *(np.frombuffer(chunk[2], np.int64) for chunk in chunks)])
            self._sums = np.concatenate([self._sums, *(np.frombuffer(chunk[3], np.uint32) for chunk in chunks)])
            if len(self.rows) != len(self._sums):
                raise StoreError(f"{self._database.path} lists other rows than checksums of {self.path}: {REMEDY}")
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._flushed = time.monotonic()

    @property
    def path(self) -> Path | None:
        """The path of the file; None if nothing was written yet."""
        return inside(self._database.path.parent, self._entry[5]) if self._entry else None

    @property
    def width(self) -> int:
        """The number of values per vector; 0 if nothing was written yet."""
        return self._entry[4] if self._entry else 0

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Find pictures in the file.

        Parameters
        ----------
        rows : ndarray of shape (N,), int64
            Rows of pictures.

        Returns
        -------
        ndarray of shape (N,), int64
            The place of each in the file, or -1.
        """
        held = self.rows
        place = np.zeros(max(held.max(initial=-1), rows.max(initial=-1)) + 2, dtype=np.int64)  # zeros take no memory
        place[held] = np.arange(1, len(held) + 1)
        place[-1] = 0  # where the rows of -1 went
        return place[rows] - 1

    def append(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Add vectors; they are written to disk every few seconds and by `flush`.

        Parameters
        ----------
        rows : ndarray of shape (B,), int64
            Rows of pictures that have no vector yet.
        vectors : ndarray of shape (B, D), float32

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        self._pending.append((np.asarray(rows, dtype=np.int64), np.asarray(vectors, dtype=np.float32)))
        if time.monotonic() - self._flushed > EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the added vectors to disk, and record them.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        self._flushed = time.monotonic()
        if not self._pending:
            return
        rows, vectors = (np.concatenate(part) for part in zip(*self._pending, strict=True))
        self._pending.clear()
        order = np.argsort(rows, kind="stable")  # engines finish batches out of turn
        rows, vectors = rows[order], np.ascontiguousarray(vectors[order])
        entry = self._entry or self._new_entry(vectors.shape[1])
        sums = checksums(vectors, self._seeds(rows))
        path = inside(self._database.path.parent, entry[5])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_at(path, 4 * entry[4] * len(self.rows), vectors)
        except OSError as error:
            raise unwritable(path, error) from None
        with self._database.transaction():
            if self._entry is None:
                self._database.insert("features", [entry])
            self._database.insert("chunks", [(entry[0], len(self.rows), rows.tobytes(), sums.tobytes())])
        self._entry = entry
        self.rows, self._sums = np.concatenate([self.rows, rows]), np.concatenate([self._sums, sums])

    def _new_entry(self, width: int) -> tuple:
        number = 1 + next(self._database.query("SELECT COALESCE(MAX(feature), 0) FROM features"))[0]
        model, layer = self.fingerprint["model"], self.fingerprint["layer"]
        file = f"vectors/{quote(model, safe='')[:80]}-{quote(layer, safe='')[:80]}-{number}.f32"
        return number, model, layer, key_of(self.fingerprint), width, file, 0

    def take(self, rows: np.ndarray) -> np.ndarray | Gathered:
        """Return the vectors of pictures; the checksums of a small file (16 MiB) are verified.

        Parameters
        ----------
        rows : ndarray of shape (N,), int64
            Rows of pictures that have a vector.

        Returns
        -------
        ndarray or Gathered of shape (N, D), float32
            Read-only: a memory map if the file begins with these rows in this order, else a copy, or for more than
            256 MiB an array-like that reads them as needed.

        Raises
        ------
        StoreError
            If the file is missing or damaged.
        """
        places, vectors = self.places(rows), self._vectors()
        if vectors.nbytes <= DIGESTED and any(fault for _, fault in self.faults()):
            raise StoreError(f"{self.path} was changed or damaged after it was written: {REMEDY}")
        if np.array_equal(places, np.arange(len(places))):
            return vectors[: len(places)]
        if 4 * len(places) * self.width > GATHERED:
            return Gathered(vectors, places)
        vectors = vectors[places]
        vectors.flags.writeable = False
        return vectors

    def faults(self) -> Iterator[tuple[int, str]]:
        """Verify every vector.

        Yields
        ------
        place : int
            In the file.
        fault : str
            What is wrong with the vector, "" for nothing.

        Raises
        ------
        StoreError
            If the file is missing or too short.
        """
        seeds = self._seeds(self.rows)
        for start, block in blocks(self._vectors()):
            part = slice(start, start + len(block))
            wrong = checksums(block, seeds[part]) != self._sums[part]
            finite = np.isfinite(block).all(axis=1)
            for place, row in enumerate(self.rows[part].tolist()):
                told = "do not match their checksums" if wrong[place] else "hold NaN or infinite values"
                yield start + place, told if row >= 0 and (wrong[place] or not finite[place]) else ""

    def drop(self, places: list[int]) -> None:
        """Record that some places of the file hold no vector.

        Parameters
        ----------
        places : list of int

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        rows = self.rows.copy()
        rows[places] = -1
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM chunks WHERE feature = ?", (self._entry[0],))
            self._database.insert("chunks", [(self._entry[0], 0, rows.tobytes(), self._sums.tobytes())])
        self.rows = rows

    def _vectors(self) -> np.memmap:
        """All vectors, (M, D) float32."""
        try:
            return np.memmap(self.path, np.float32, "r", shape=(len(self.rows), self.width))
        except (OSError, ValueError) as error:
            told = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
            raise StoreError(f"{self.path} {told}: {REMEDY}") from None

    def _seeds(self, rows: np.ndarray) -> np.ndarray:
        """The CRC-32 (N,) of the id and the digest of each picture, with which its checksum begins."""
        found = np.zeros(max(rows.max(initial=-1), 0) + 2, dtype=np.uint32)
        for start in range(0, len(rows), TOGETHER):
            places = ", ".join(map(str, rows[start : start + TOGETHER].tolist()))
            names = self._database.query(f"SELECT row, id, digest FROM pictures WHERE row IN ({places})")
            for row, id, digest in names:
                found[row] = zlib.crc32(f"{id}\0{digest}".encode())
        return found[rows]


class MemoryRows:
    """The vectors of one fingerprint in memory, with the methods of `VectorFile` that extraction needs."""

    def __init__(self) -> None:
        self._rows: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        self._batches: list[np.ndarray] = []

    @property
    def rows(self) -> np.ndarray:
        """The picture (M,) int64 of each vector, in the order in which they were added."""
        return np.concatenate(self._rows)

    places = VectorFile.places

    def append(self, rows: np.ndarray, vectors: np.ndarray) -> None:
        """Add the vectors (B, D) float32 of B pictures."""
        self._rows.append(np.asarray(rows, dtype=np.int64))
        self._batches.append(np.array(vectors, dtype=np.float32))

    def flush(self) -> None:
        """Do nothing, as there is no file."""

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the vectors (N, D) float32 of N pictures, in this order."""
        return np.concatenate(self._batches)[self.places(rows)]


def key_of(fingerprint: Mapping) -> str:
    """A fingerprint as the database knows it: JSON with sorted keys."""
    return json.dumps(dict(fingerprint), sort_keys=True)


def checksums(vectors: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """The CRC-32 (B,) uint32 of each vector (B, D) float32, continued from its seed (B,)."""
    pairs = zip(np.ascontiguousarray(vectors), seeds.tolist(), strict=True)
    return np.fromiter((zlib.crc32(vector, seed) for vector, seed in pairs), dtype=np.uint32, count=len(vectors))
