"""Human relevance judgements, kept in a CSV file."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ..errors import StoreError, check_path
from ..intake import separator_of

COLUMNS = ["query", "id", "relevance", "time"]
HEADER = ",".join(COLUMNS).encode()


class Judgements:
    """Human judgements: relevance 1 or 0 for pairs of a query and a picture, kept in a CSV file.

    Each judgement is appended to the file at once. Of several judgements of a pair the last one counts; an empty
    relevance withdraws the earlier ones. No complete line is ever deleted. Several processes can judge in one file at
    once, and each sees the judgements of the others.

    Parameters
    ----------
    path : path
        A CSV file with the columns query, id, relevance, time, separated by commas, semicolons or tabs. It is read if
        it exists.

    Raises
    ------
    StoreError
        If the file cannot be read, or is not a file of judgements.

    See Also
    --------
    Relevance.from_judgements : Use the judgements in `evaluate`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = check_path(path, "the path of the judgements")
        self._of: dict[tuple[str, str], int] = {}
        self._separator = ","
        self._whole = self._rows = 0
        """The number of bytes in complete lines, and of their rows; a rest is an incomplete line, left by a crash."""
        self._read()

    def _read(self) -> None:
        """Read the lines that were added since the last time, by this object or by any other process."""
        try:
            size = self.path.stat().st_size if self.path.exists() else 0
            if size < self._whole:  # another file has taken its place
                self._of.clear()
                self._whole = self._rows = 0
            if size == self._whole:
                return
            with self.path.open("rb") as file:
                file.seek(self._whole)
                content = file.read()
            complete = content[: _complete(content)]
            text = complete.decode("utf-8" if self._whole else "utf-8-sig")  # spreadsheets begin with a BOM
            if not self._whole:
                self._separator = separator_of(text.partition("\n")[0], COLUMNS)
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=self._separator, strict=True))
        except (OSError, ValueError, csv.Error) as error:
            raise StoreError(f"the judgements {self.path} cannot be read ({error}): give another file") from None
        if not self._whole and (rows[0] != COLUMNS if rows else not HEADER.startswith(content)):
            first = content[:100].decode("utf-8", "replace").partition("\n")[0]
            raise StoreError(
                f"{self.path} is not a file of judgements: its first line is {first!r}, not {','.join(COLUMNS)}"
            )
        for number, row in enumerate(rows, self._rows + 1):
            if number > 1 and (len(row) != 4 or row[2] not in ("", "0", "1")):
                raise StoreError(
                    f"{self.path}, row {number}: relevance must be 0, 1 or empty; correct or remove the row"
                )
            if number > 1:
                self._note(*row[:3])
        self._whole, self._rows = self._whole + len(complete), self._rows + len(rows)

    def _note(self, query: str, id: str, relevance: str) -> None:
        self._of.pop((query, id), None)
        if relevance:
            self._of[query, id] = int(relevance)

    def __len__(self) -> int:
        self._read()
        return len(self._of)

    def __repr__(self) -> str:
        self._read()
        return f"Judgements({str(self.path)!r}: {len(self):,} of {len({query for query, _ in self._of}):,} queries)"

    def get(self, query: str, id: str) -> int | None:
        """Return the relevance of a picture to a query: 1, 0, or None if the pair was not judged."""
        self._read()
        return self._of.get((query, id))

    def add(self, query: str, ids: str | Iterable[str], relevance: bool | int | None) -> None:
        """Judge one or several pictures, or withdraw their judgements; the file on disk is up to date on return.

        Parameters
        ----------
        query : str
            The id of the query, or words: a tag.
        ids : str or iterable of str
            The ids of the pictures.
        relevance : bool, int or None
            Whether the pictures are relevant to the query; None withdraws the judgements.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        from filelock import FileLock  # imported where something is written

        value = "" if relevance is None else str(int(bool(relevance)))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        rows = [[query, id, value, now] for id in ([ids] if isinstance(ids, str) else ids)]
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_name(f".{self.path.name}.lock")):
                self._read()
                lines = io.StringIO()
                writer = csv.writer(lines, delimiter=self._separator, lineterminator="\n")
                writer.writerows(rows if self._whole else [COLUMNS, *rows])
                with self.path.open("ab") as file:
                    file.truncate(self._whole)  # nobody else is writing: a rest is left by a crash
                    file.write(lines.getvalue().encode("utf-8"))
                    file.flush()
                    os.fsync(file.fileno())
                self._read()
        except OSError as error:
            raise StoreError(f"the judgement cannot be written to {self.path}: {error.strerror or error}") from None

    @property
    def table(self) -> pd.DataFrame:
        """A DataFrame with one row per judged pair: query, id, relevance (0 or 1)."""
        self._read()
        rows = [(query, id, relevance) for (query, id), relevance in self._of.items()]
        return pd.DataFrame(rows, columns=COLUMNS[:3])

    def save_qrels(self, path: str | os.PathLike) -> Path:
        """Write the judgements as TREC qrels: query, 0, document and relevance, separated by blanks.

        Parameters
        ----------
        path : path
            Ids are percent-encoded, except for letters, digits and the characters _.-~/ in them.

        Returns
        -------
        Path

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        self._read()
        path = check_path(path)
        lines = (f"{_word(query)} 0 {_word(id)} {relevance}\n" for (query, id), relevance in self._of.items())
        try:
            path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from None
        return path


def _complete(content: bytes) -> int:
    """Return the length of the complete lines of a CSV file; line breaks within quotes do not end a line."""
    end = content.rfind(b"\n") + 1
    while content.count(b'"', 0, end) % 2:
        end = content.rfind(b"\n", 0, end - 1) + 1
    return end


def _word(name: str) -> str:
    return quote(name, safe="/")
