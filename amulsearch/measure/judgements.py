"""Human relevance judgements, kept in a CSV file."""

from __future__ import annotations

import csv
import io
import os
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pandas as pd

from ..errors import StoreError

COLUMNS = ["query", "id", "relevance", "time"]


class Judgements:
    """Human judgements: relevance 1 or 0 for pairs of a query and a picture, kept in a CSV file.

    Each judgement is appended to the file at once. Of several judgements of a pair the last one counts; an empty
    relevance withdraws the earlier ones. No complete line is ever deleted.

    Parameters
    ----------
    path : path
        A CSV file with the columns query, id, relevance, time. It is read if it exists.

    Raises
    ------
    StoreError
        If the file cannot be read, or is not a file of judgements.

    See Also
    --------
    Relevance.from_judgements : Use the judgements in `evaluate`.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path).expanduser()
        self._of: dict[tuple[str, str], int] = {}
        self._whole = 0
        """The number of bytes in complete lines; a rest is an incomplete line, left by a crash."""
        try:
            content = self.path.read_bytes() if self.path.exists() else b""
            self._whole = content.rfind(b"\n") + 1
            rows = list(csv.reader(io.StringIO(content[: self._whole].decode("utf-8"), newline=""), strict=True))
        except (OSError, ValueError, csv.Error) as error:
            raise StoreError(f"the judgements {self.path} cannot be read ({error}): give another file") from None
        if rows and rows[0] != COLUMNS:
            raise StoreError(f"{self.path} is not a file of judgements: its first line is not {','.join(COLUMNS)}")
        for number, row in enumerate(rows[1:], 2):
            if len(row) != 4 or row[2] not in ("", "0", "1"):
                raise StoreError(
                    f"{self.path}, row {number}: relevance must be 0, 1 or empty; correct or remove the row"
                )
            self._note(*row[:3])

    def _note(self, query: str, id: str, relevance: str) -> None:
        self._of.pop((query, id), None)
        if relevance:
            self._of[query, id] = int(relevance)

    def __len__(self) -> int:
        return len(self._of)

    def __repr__(self) -> str:
        return f"Judgements({str(self.path)!r}: {len(self):,} of {len({query for query, _ in self._of}):,} queries)"

    def get(self, query: str, id: str) -> int | None:
        """Return the relevance of a picture to a query: 1, 0, or None if the pair was not judged."""
        return self._of.get((query, id))

    def add(self, query: str, id: str, relevance: bool | int | None) -> None:
        """Judge a pair, or withdraw its judgement; the file on disk is up to date on return.

        Parameters
        ----------
        query, id : str
            The ids of the query and of the picture.
        relevance : bool, int or None
            Whether the picture is relevant to the query; None withdraws the judgement.

        Raises
        ------
        StoreError
            If the file cannot be written.
        """
        value = "" if relevance is None else str(int(bool(relevance)))
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        if not self._whole:
            writer.writerow(COLUMNS)
        writer.writerow([query, id, value, datetime.now(UTC).isoformat(timespec="seconds")])
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:
                file.truncate(self._whole)
                file.write(lines.getvalue().encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
                self._whole = file.tell()
        except OSError as error:
            raise StoreError(f"the judgement cannot be written to {self.path}: {error.strerror}") from None
        self._note(query, id, value)

    @property
    def table(self) -> pd.DataFrame:
        """A DataFrame with one row per judged pair: query, id, relevance (0 or 1)."""
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
        path = Path(path)
        lines = (f"{_word(query)} 0 {_word(id)} {relevance}\n" for (query, id), relevance in self._of.items())
        try:
            path.write_text("".join(lines), encoding="utf-8")
        except OSError as error:
            raise StoreError(f"{path} cannot be written: {error.strerror}") from None
        return path


def _word(name: str) -> str:
    return quote(name, safe="/")
