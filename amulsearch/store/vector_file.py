"""The vectors of one fingerprint: raw float32 in an append-only file; the database says which picture each belongs to.

Vectors are first written to the file and then recorded, with a checksum. What an interrupted run wrote after the last
recorded vector is ignored, and the next one overwrites it.
"""

import json
import mmap
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import numpy as np

from ..errors import StoreError
from .database import REMEDY, Database
from .files import DIGESTED, inside, unwritable, write_at

EVERY = 5
"""Seconds between two writes to disk."""

BLOCK_BYTES, BLOCK_ROWS = 2**22, 8192
"""The size limits of a block; larger blocks exceed the processor's caches and are not faster."""

Blocks = Iterable[tuple[int, np.ndarray]]
"""Pairs of the first row of a block and the block, of shape (B, D)."""


class VectorFile:
    """The vectors of one fingerprint in a store; `numbers` (M,) int64 are the pictures in the order of the file."""

    def __init__(self, database: Database, fingerprint: Mapping):
        self._database, self.fingerprint = database, dict(fingerprint)
        self._entry = next(database.select("features", "WHERE fingerprint = ?", (key_of(fingerprint),)), None)
        self._pending: list[tuple[np.ndarray, np.ndarray]] = []
        self._flushed = time.monotonic()
        parts = [np.frombuffer(numbers, np.int64, len(numbers) // 8) for _, _, numbers, _ in self._chunks()]
        self.numbers = np.concatenate([np.empty(0, dtype=np.int64), *parts])

    def _chunks(self) -> Iterator[tuple]:
        """The rows of the table `chunks`, in the order of the file."""
        feature = self._entry[0] if self._entry else None
        return self._database.select("chunks", "WHERE feature = ? ORDER BY first", (feature,))

    @property
    def path(self) -> Path | None:
        """The path of the file; None if nothing was written yet."""
        return inside(self._database.path.parent, self._entry[5]) if self._entry else None

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """Return the place (N,) in the file of the vector of each picture, or -1."""
        stored = self.numbers
        place = np.zeros(max(stored.max(initial=0), numbers.max(initial=0)) + 1, dtype=np.int64)  # takes no memory
        place[stored] = np.arange(1, len(stored) + 1)
        return place[numbers] - 1

    def append(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Add the vectors (B, D) of B pictures that have none; they are written every few seconds and by `flush`."""
        self._pending.append((np.asarray(numbers, dtype=np.int64), np.asarray(vectors, dtype=np.float32)))
        if time.monotonic() - self._flushed > EVERY:
            self.flush()

    def flush(self) -> None:
        """Write the added vectors to disk, and record them; StoreError if that fails."""
        self._flushed = time.monotonic()
        if not self._pending:
            return
        numbers, vectors = (np.concatenate(part) for part in zip(*self._pending, strict=True))
        self._pending.clear()
        order = np.argsort(numbers, kind="stable")  # engines finish batches out of turn
        numbers, vectors = numbers[order], np.ascontiguousarray(vectors[order])
        entry = self._entry or self._new_entry(vectors.shape[1])
        path = inside(self._database.path.parent, entry[5])
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_at(path, 4 * entry[4] * len(self.numbers), vectors)
        except OSError as error:
            raise unwritable(path, error) from None
        with self._database.transaction():
            if self._entry is None:
                self._database.insert("features", [entry])
            chunk = entry[0], len(self.numbers), numbers.tobytes()
            self._database.insert("chunks", [(*chunk, checksum(*chunk, vectors))])
        self._entry = entry
        self.numbers = np.concatenate([self.numbers, numbers])

    def _new_entry(self, width: int) -> tuple:
        feature = 1 + next(self._database.query("SELECT COALESCE(MAX(feature), 0) FROM features"))[0]
        model, layer = self.fingerprint["model"], self.fingerprint["layer"]
        file = f"vectors/{quote(model, safe='')[:80]}-{quote(layer, safe='')[:80]}-{feature}.f32"
        return feature, model, layer, key_of(self.fingerprint), width, file, 0

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return the vectors (N, D) of pictures that have one, read-only; a file up to 16 MiB is verified."""
        # A memory map if the file begins with these pictures in this order, else a copy in memory.
        places, vectors = self.places(numbers), self._vectors()
        if vectors.nbytes <= DIGESTED:
            self.verify()
        if np.array_equal(places, np.arange(len(places))):
            return vectors[: len(places)]
        vectors = vectors[places]
        vectors.flags.writeable = False
        return vectors

    def verify(self) -> None:
        """Compare what was appended with its checksums; StoreError if something was changed or is missing."""
        vectors, start = self._vectors(), 0
        for feature, first, numbers, recorded in self._chunks():
            end = start + len(numbers) // 8
            if first != start or checksum(feature, first, numbers, vectors[start:end]) != recorded:
                raise StoreError(f"{self.path} was changed or damaged after it was written: {REMEDY}")
            start = end

    def _vectors(self) -> np.memmap:
        """All vectors, (M, D) float32."""
        try:
            return np.memmap(self.path, np.float32, "r", shape=(len(self.numbers), self._entry[4]))
        except (OSError, OverflowError, ValueError) as error:
            raise StoreError(f"{self.path} cannot be read ({error}): {REMEDY}") from None


class MemoryRows:
    """The vectors of one fingerprint in memory, with the methods of `VectorFile` that extraction needs."""

    def __init__(self) -> None:
        self._numbers: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
        self._batches: list[np.ndarray] = []

    @property
    def numbers(self) -> np.ndarray:
        """The picture (M,) int64 of each vector, in the order in which they were added."""
        return np.concatenate(self._numbers)

    places = VectorFile.places

    def append(self, numbers: np.ndarray, vectors: np.ndarray) -> None:
        """Add the vectors (B, D) of B pictures."""
        self._numbers.append(np.asarray(numbers, dtype=np.int64))
        self._batches.append(np.array(vectors, dtype=np.float32))

    def flush(self) -> None:
        """Do nothing, as there is no file."""

    def take(self, numbers: np.ndarray) -> np.ndarray:
        """Return the vectors (N, D) of N pictures, in this order."""
        return np.concatenate(self._batches)[self.places(numbers)]


def key_of(fingerprint: Mapping) -> str:
    """A fingerprint as the database knows it: JSON with sorted keys."""
    return json.dumps(dict(fingerprint), sort_keys=True)


def checksum(feature: int, first: int, numbers: bytes, vectors: np.ndarray) -> int:
    """The CRC-32 of vectors that are appended, of their place and of the pictures that they belong to."""
    return zlib.crc32(vectors, zlib.crc32(numbers, zlib.crc32(f"{feature} {first}".encode())))


def blocks(vectors: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield vectors (N, D) in blocks of rows, each with its first row; those of a read-only memory map are released
    from memory after use."""
    file = vectors.base if isinstance(vectors, np.memmap) and vectors.mode == "r" else None
    vectors = np.asarray(vectors)  # slicing an np.memmap is slow
    step = max(1, min(BLOCK_ROWS, BLOCK_BYTES // (4 * max(vectors.shape[1], 1))))
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]
        if isinstance(file, mmap.mmap) and hasattr(file, "madvise"):  # Windows has none, and releases them by itself
            file.madvise(mmap.MADV_DONTNEED)
