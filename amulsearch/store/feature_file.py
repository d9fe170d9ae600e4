"""The vectors of one model and layer on disk: each row has a picture, a vector and a checksum of both.

    meta.json      format, fingerprint, width, number of the generation
    vectors-N.f32  float32, one row per picture, without a header
    rows-N.jsonl   [id, digest, checksum] of each row

Rows are only appended to a generation; a new order is a new generation, which replacing meta.json makes current.
Whatever an interrupted run wrote after the last complete row is ignored, and the next row overwrites it.
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
Key = tuple[str, str]
"""A picture: its id and the digest of its file."""

OLDER = "delete the store, which an older amulsearch made, and index the folder again"
REMEDY = "run `amulsearch check --store DIR --repair`, then index the folder again"


class FeatureFile:
    """The rows of one fingerprint, read when the object is made.

    Parameters
    ----------
    folder : Path
        The folder of the files; created when rows are first written.
    fingerprint : dict, optional
        The fingerprint that the rows must have; by default that of the existing files.
    read : bool, default True
        Read the rows; otherwise only meta.json.

    Attributes
    ----------
    rows : dict of Key to int
        The row of each picture.
    meta : dict
        The content of meta.json.

    Raises
    ------
    StoreError
        If the files are damaged or have another fingerprint.
    """

    def __init__(self, folder: Path, fingerprint: dict | None = None, *, read: bool = True):
        self.folder = folder
        self.meta = {"format": FORMAT, "fingerprint": fingerprint, "width": None, "generation": 1}
        self.rows: dict[Key, int] = {}
        self._sums: list[str] = []
        self._bytes = 0
        """Total length of the complete lines of rows-N.jsonl that have vectors."""
        self._pending: list[tuple[list[Key], np.ndarray]] = []
        self._flushed = time.monotonic()
        if fingerprint is None or (folder / "meta.json").exists():
            self.meta = read_json(folder / "meta.json", FORMAT, REMEDY, OLDER)
            if fingerprint not in (None, self.meta["fingerprint"]):
                raise StoreError(f"{folder} holds features that do not match its name: {REMEDY}")
            if read:
                self._read()

    @property
    def vectors_path(self) -> Path:
        """The path of the vectors of the current generation."""
        return self.folder / f"vectors-{self.meta['generation']}.f32"

    @property
    def rows_path(self) -> Path:
        """The path of the rows of the current generation."""
        return self.folder / f"rows-{self.meta['generation']}.jsonl"

    def _lines(self) -> list[bytes]:
        """The lines of complete rows: terminated lines whose vectors exist."""
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
            raise StoreError(f"{self.rows_path} lists a picture twice: {REMEDY}")
        self._bytes = sum(map(len, lines)) + len(lines)

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        """Add rows; they are written to disk every few seconds and by `flush`.

        Parameters
        ----------
        keys : list of B Key
            The pictures.
        vectors : ndarray of shape (B, D), float32
            Their vectors.

        Raises
        ------
        StoreError
            If the files cannot be written.
        """
        self._pending.append((keys, np.ascontiguousarray(vectors, dtype=np.float32)))
        if time.monotonic() - self._flushed > 5:
            self.flush()

    def flush(self) -> None:
        """Write the added rows to disk: first the vectors, then the lines, so that no line lacks its vector.

        Raises
        ------
        StoreError
            If the files cannot be written.
        """
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
        """Return the same as `take`, after the checksums of all rows have been verified.

        Only those of a small file (`files.DIGESTED`) are compared; `check` compares those of every file.

        Parameters
        ----------
        keys : sequence of N Key
            The pictures.

        Returns
        -------
        ndarray of shape (N, D), float32
            Read-only.

        Raises
        ------
        StoreError
            If a checksum is wrong.
        """
        if self._vectors().nbytes <= DIGESTED and any(self._verdicts(list(self.rows))):
            raise StoreError(f"{self.vectors_path} was changed or damaged after it was written: {REMEDY}")
        return self.take(keys)

    def take(self, keys: Sequence[Key]) -> np.ndarray:
        """Return the vectors of these pictures, in this order.

        Parameters
        ----------
        keys : sequence of N Key
            The pictures; each must have a row.

        Returns
        -------
        ndarray of shape (N, D), float32
            Read-only; a memory map if the rows of the file begin in this order, as after `tidy`.
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
        """The fault of each row, "" for none; keys: the picture of each row, None if it is unknown."""
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
        """Open a file that may be damaged and keep its intact rows only.

        Parameters
        ----------
        folder : Path
            The folder of the files.

        Returns
        -------
        file : FeatureFile
            With the intact rows.
        findings : list of str
            One sentence per kind of fault.

        Raises
        ------
        StoreError
            If meta.json is damaged.
        """
        file = cls(folder, read=False)
        parsed = [_parsed(line) for line in file._lines()]
        keys, file._sums = [key for key, _ in parsed], [checksum for _, checksum in parsed]
        bad: dict[str, list[Key | None]] = {}
        for row, (key, wrong) in enumerate(zip(keys, file._verdicts(keys), strict=True)):
            if not wrong and key in file.rows:
                wrong = "repeat a picture of an earlier row"
            if wrong:
                bad.setdefault(wrong, []).append(key)
            else:
                file.rows[key] = row
        return file, [
            f"{len(of)} of {len(keys)} rows {wrong}" + (f", the first that of {of[0][0]!r}" if of[0] else "")
            for wrong, of in bad.items()
        ]

    def tidy(self, keys: Sequence[Key]) -> None:
        """Keep the rows of these pictures only, in this order, and delete all other files in the folder.

        Parameters
        ----------
        keys : sequence of Key
            The pictures; each must have a row.

        Raises
        ------
        StoreError
            If the files cannot be written.
        """
        if len(keys) != len(self._sums) or not self._begins(keys):
            self._rewrite(keys)
        for path in self.leftovers():
            with suppress(OSError):
                path.unlink()

    def leftovers(self) -> list[Path]:
        """List the files that do not belong to the current generation.

        Returns
        -------
        list of Path
        """
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
    """The rows of one fingerprint in memory, with the methods of `FeatureFile` that extraction needs.

    Attributes
    ----------
    rows : dict of Key to int
        The row of each picture.
    """

    def __init__(self) -> None:
        self.rows: dict[Key, int] = {}
        self._batches: list[np.ndarray] = []

    def append(self, keys: list[Key], vectors: np.ndarray) -> None:
        """Add the vectors (B, D) float32 of B pictures."""
        self._batches.append(np.array(vectors, dtype=np.float32))
        first = len(self.rows)
        self.rows.update({key: first + place for place, key in enumerate(keys)})

    def flush(self) -> None:
        """Do nothing, as there is no file."""

    def tidy(self, keys: Sequence[Key]) -> None:
        """Do nothing, as there is no file."""

    def arrange(self, keys: Sequence[Key]) -> np.ndarray:
        """Return the vectors (N, D) float32 of N pictures, in this order."""
        return np.concatenate(self._batches)[[self.rows[key] for key in keys]]


def row_checksum(key: Key, vector: np.ndarray) -> str:
    """The first 16 digits of the SHA-256 of a picture's id, its digest and the bytes of its vector (D,) float32."""
    return hashlib.sha256("\0".join(key).encode("utf-8", "backslashreplace") + vector.tobytes()).hexdigest()[:16]


def _as_lines(keys: Sequence[Key], sums: Sequence[str]) -> bytes:
    return "".join(json.dumps([*key, checksum]) + "\n" for key, checksum in zip(keys, sums, strict=True)).encode()


def _parsed(line: bytes) -> tuple[Key | None, str]:
    try:
        id, digest, checksum = json.loads(line)
        return (str(id), str(digest)), str(checksum)
    except (ValueError, TypeError, RecursionError):
        return None, ""
