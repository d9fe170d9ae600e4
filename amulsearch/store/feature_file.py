"""The vectors of one model and layer on disk, each row with its picture and a checksum of both.

    meta.json      format, fingerprint, width, number of the generation
    vectors-N.f32  float32, one row a picture, without a header
    rows-N.jsonl   [id, digest, checksum] of each row

Rows are only ever appended to a generation; a new order is a new generation, made current by replacing meta.json.
What a run that was cut off left behind the last whole row counts as absent, and the next row takes its place.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..errors import StoreError
from .blockwise import blocks
from .files import DIGESTED, read_json, replacing, unwritable, write_at, write_json

FORMAT = 3
Key = tuple[str, str]  # (id, digest of the picture's file)
OLDER = "an older amulsearch made it, so delete the store and index the folder again"
REMEDY = "run `amulsearch check --store DIR --repair`, then index the folder again"


class FeatureFile:
    """Rows of one fingerprint, read when it is opened.

    rows: (id, digest) -> row; fingerprint: what the rows must be of, None for whatever is there.

    Raises StoreError where the files are damaged.
    """

    def __init__(self, folder: Path, fingerprint: dict | None = None, *, read: bool = True):
        self.folder = folder
        self.meta = {"format": FORMAT, "fingerprint": fingerprint, "width": None, "generation": 1}
        self.rows: dict[Key, int] = {}
        self._sums: list[str] = []
        self._bytes = 0
        """How long the whole lines of rows-N.jsonl are that have their vectors."""
        self._pending: list[tuple[list[Key], np.ndarray]] = []
        self._flushed = time.monotonic()
        if fingerprint is None or (folder / "meta.json").exists():
            self.meta = read_json(folder / "meta.json", FORMAT, REMEDY, OLDER)
            if fingerprint not in (None, self.meta["fingerprint"]):
                raise StoreError(f"{folder} holds other features than its name says: {REMEDY}")
            if read:
                self._read()

    @property
    def vectors_path(self) -> Path:
        return self.folder / f"vectors-{self.meta['generation']}.f32"

    @property
    def rows_path(self) -> Path:
        return self.folder / f"rows-{self.meta['generation']}.jsonl"

    def _lines(self) -> list[bytes]:
        """The lines of whole rows: those that end, and whose vectors are there."""
        if not self.vectors_path.exists() or not self.rows_path.exists():
            return []
        lines = self.rows_path.read_bytes().split(b"\n")[:-1]
        return lines[: self.vectors_path.stat().st_size // (4 * self.meta["width"])]

    def _read(self) -> None:
        lines = self._lines()
        try:
            rows = json.loads(b"[" + b",".join(lines) + b"]")
            self.rows = {(id, digest): row for row, (id, digest, _) in enumerate(rows)}
            self._sums = [checksum for _, _, checksum in rows]
        except (ValueError, TypeError, RecursionError):
            raise StoreError(f"{self.rows_path} is damaged: {REMEDY}") from None
        if not len(self.rows) == len(rows) == len(lines):
            raise StoreError(f"{self.rows_path} names a picture twice: {REMEDY}")
        self._bytes = sum(map(len, lines)) + len(lines)

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        """Add rows (B, D) float32; written to disk together every few seconds, and by `flush`."""
        self._pending.append((keys, np.ascontiguousarray(vectors, dtype=np.float32)))
        if time.monotonic() - self._flushed > 5:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting: first the vectors, then the rows that name them, so that a row is never without."""
        self._flushed = time.monotonic()
        if not self._pending:
            return
        keys = [key for batch, _ in self._pending for key in batch]
        vectors = np.concatenate([batch for _, batch in self._pending])
        self._pending.clear()
        sums = [row_checksum(key, vector) for key, vector in zip(keys, vectors, strict=True)]
        lines = _as_lines(keys, sums)
        if self.meta["width"] is None:
            meta = {**self.meta, "width": vectors.shape[1]}
            write_json(self.folder / "meta.json", meta)
            self.meta = meta
        try:
            write_at(self.vectors_path, 4 * self.meta["width"] * len(self._sums), vectors.tobytes())
            write_at(self.rows_path, self._bytes, lines)
        except OSError as error:
            raise unwritable(self.folder, error) from None
        first = len(self._sums)
        self.rows.update({key: first + place for place, key in enumerate(keys)})
        self._sums += sums
        self._bytes += len(lines)

    def arrange(self, keys: Sequence[Key]) -> np.ndarray:
        """What `take` gives, of rows whose checksums are right.

        They are compared where the file is small (DIGESTED); `check` does so for every file.
        """
        if self._vectors().nbytes <= DIGESTED and any(self._verdicts(list(self.rows))):
            raise StoreError(f"{self.vectors_path} was changed or damaged after it was written: {REMEDY}")
        return self.take(keys)

    def take(self, keys: Sequence[Key]) -> np.ndarray:
        """The vectors of these pictures in this order, (N, D) float32, read-only.

        A memory map where the rows begin in this order, as `tidy` leaves them.
        """
        vectors = self._vectors()
        vectors = vectors[: len(keys)] if self._begins(keys) else vectors[[self.rows[key] for key in keys]]
        vectors.flags.writeable = False
        return vectors

    def _begins(self, keys: Sequence[Key]) -> bool:
        """Whether the rows begin with these pictures in this order."""
        return all(self.rows[key] == row for row, key in enumerate(keys))

    def _vectors(self) -> np.memmap:
        """All rows, (N, D) float32."""
        return np.memmap(self.vectors_path, np.float32, "r", shape=(len(self._sums), self.meta["width"]))

    def _verdicts(self, keys: Sequence[Key | None]) -> Iterator[str]:
        """What is wrong with each row, "" where nothing is; keys: the picture of each, None where it is not known."""
        for start, block in blocks(self._vectors()) if keys else ():
            finite = np.isfinite(block).all(axis=1)
            for row, vector in enumerate(block, start):
                if keys[row] is None:
                    yield "cannot be read"
                elif row_checksum(keys[row], vector) != self._sums[row]:
                    yield "do not match their checksums"
                else:
                    yield "" if finite[row - start] else "hold NaN or infinite values"

    @classmethod
    def salvage(cls, folder: Path) -> tuple[FeatureFile, list[str]]:
        """A file that may be damaged, with its good rows only, and what is wrong with the others.

        Raises StoreError where meta.json itself is not right.
        """
        file = cls(folder, read=False)
        parsed = [_parsed(line) for line in file._lines()]
        keys, file._sums = [key for key, _ in parsed], [checksum for _, checksum in parsed]
        bad: dict[str, list[Key | None]] = {}
        for row, (key, wrong) in enumerate(zip(keys, file._verdicts(keys), strict=True)):
            if not wrong and key in file.rows:
                wrong = "are of a picture that has one already"
            if wrong:
                bad.setdefault(wrong, []).append(key)
            else:
                file.rows[key] = row
        return file, [
            f"{len(of)} of {len(keys)} rows {wrong}" + (f", the first is of {of[0][0]!r}" if of[0] else "")
            for wrong, of in bad.items()
        ]

    def tidy(self, keys: Sequence[Key]) -> None:
        """Bring the rows into this order, with nothing between, and delete what else lies in the folder."""
        if len(keys) != len(self._sums) or not self._begins(keys):
            self._rewrite(keys)
        for path in self.leftovers():
            with suppress(OSError):
                path.unlink()

    def leftovers(self) -> list[Path]:
        """Files that belong to no current generation."""
        own = {self.vectors_path, self.rows_path, self.folder / "meta.json"}
        return sorted(set(self.folder.iterdir()) - own) if self.folder.is_dir() else []

    def _rewrite(self, keys: Sequence[Key]) -> None:
        order = [self.rows[key] for key in keys]
        vectors, sums, size = self._vectors(), [self._sums[row] for row in order], 0
        old, self.meta = self.meta, {**self.meta, "generation": self.meta["generation"] + 1}
        try:
            with (
                replacing(self.vectors_path, self.rows_path) as (new_vectors, new_rows),
                new_vectors.open("wb") as file,
                new_rows.open("wb") as lines,
            ):
                for start in range(0, len(order), 4096):
                    part = slice(start, start + 4096)
                    file.write(vectors[order[part]].tobytes())
                    size += lines.write(_as_lines(keys[part], sums[part]))
            write_json(self.folder / "meta.json", self.meta)
        except BaseException:
            self.meta = old
            raise
        self.rows = {key: row for row, key in enumerate(keys)}
        self._sums, self._bytes = sums, size


class MemoryRows:
    """What `FeatureFile` does, without a disk."""

    def __init__(self) -> None:
        self.rows: dict[Key, int] = {}
        self._batches: list[np.ndarray] = []

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        self._batches.append(np.array(vectors, dtype=np.float32))
        first = len(self.rows)
        self.rows.update({key: first + place for place, key in enumerate(keys)})

    def flush(self) -> None:
        pass

    def tidy(self, keys: Sequence[Key]) -> None:
        pass

    def arrange(self, keys: Sequence[Key]) -> np.ndarray:
        return np.concatenate(self._batches)[[self.rows[key] for key in keys]]


def row_checksum(key: Key, vector: np.ndarray) -> str:
    """The start of the SHA-256 of a picture's id and digest and the bytes of its vector (D,) float32."""
    return hashlib.sha256("\0".join(key).encode("utf-8", "backslashreplace") + vector.tobytes()).hexdigest()[:16]


def _as_lines(keys: Sequence[Key], sums: Sequence[str]) -> bytes:
    return "".join(json.dumps([*key, checksum]) + "\n" for key, checksum in zip(keys, sums, strict=True)).encode()


def _parsed(line: bytes) -> tuple[Key | None, str]:
    try:
        id, digest, checksum = json.loads(line)
        return (str(id), str(digest)), str(checksum)
    except (ValueError, TypeError, RecursionError):
        return None, ""
