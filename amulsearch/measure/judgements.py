"""Human relevance judgements, kept in a CSV file."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

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
    """

    def __init__(self, path: str | os.PathLike):
        self.path = check_path(path, "the path of the judgements")
        self._relevance: dict[tuple[str, str], int] = {}
        self._separator = ","
        self._whole = 0
        """The number of bytes in complete lines; a rest is an incomplete line, left by a crash."""
        self._version: tuple[int, int] | None = None
        """The size and the time of the file when it was read."""
        self._read()

    def _read(self) -> None:
        """Read the file if it has changed, by this object or by any other process."""
        try:
            status = self.path.stat() if self.path.exists() else None
            version = status and (status.st_size, status.st_mtime_ns)
            if version == self._version:
                return
            content = self.path.read_bytes() if version else b""
            whole = _complete(content)
            text = content[:whole].decode("utf-8-sig")  # spreadsheets begin with a BOM
            separator = separator_of(text.partition("\n")[0], COLUMNS)
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
        except (OSError, ValueError, csv.Error) as error:
            raise StoreError(f"the judgements {self.path} cannot be read ({error}): give another file") from None
        if rows[0] != COLUMNS if rows else not HEADER.startswith(content):
            first = content[:100].decode("utf-8", "replace").partition("\n")[0]
            what = f"its first line is {first!r}, not {','.join(COLUMNS)}"
            raise StoreError(f"{self.path} is not a file of judgements: {what}")
        judged: dict[tuple[str, str], int] = {}
        for number, row in enumerate(rows[1:], 2):
            if len(row) != len(COLUMNS) or row[2] not in ("", "0", "1"):
                what = "relevance must be 0, 1 or empty; correct or remove the row"
                raise StoreError(f"{self.path}, row {number}: {what}")
            query, id, relevance, _ = row
            judged.pop((query, id), None)
            if relevance:
                judged[query, id] = int(relevance)
        self._relevance, self._separator, self._whole, self._version = judged, separator, whole, version

    def __len__(self) -> int:
        self._read()
        return len(self._relevance)

    def __repr__(self) -> str:
        count, queries = len(self), len({query for query, _ in self._relevance})
        return f"Judgements({str(self.path)!r}: {count:,} of {queries:,} queries)"

    def get(self, query: str, id: str) -> int | None:
        """Return the relevance of a picture to a query: 1, 0, or None if the pair was not judged."""
        self._read()
        return self._relevance.get((query, id))

    def add(self, query: str, ids: str | Iterable[str], relevance: bool | int | None | Sequence) -> None:
        """Judge one or several pictures, or withdraw their judgements; the file is on disk on return.

        Parameters
        ----------
        query : str
            The id of the query, or words: a tag.
        ids : str or iterable of str
            The ids of the pictures.
        relevance : bool, int or None, or a sequence of these
            Whether the pictures are relevant to the query, all or each; None withdraws the judgements.
        """
        from filelock import FileLock  # imported where something is written

        now, ids = datetime.now(UTC).isoformat(timespec="seconds"), [ids] if isinstance(ids, str) else list(ids)
        each = relevance if isinstance(relevance, Sequence) else [relevance] * len(ids)
        values = ["" if one is None else str(int(bool(one))) for one in each]
        rows = [[query, id, value, now] for id, value in zip(ids, values, strict=True)]
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
        except OSError as error:
            raise StoreError(f"the judgement cannot be written to {self.path}: {error.strerror or error}") from None

    @property
    def table(self) -> pd.DataFrame:
        """A DataFrame with one row per judged pair: query, id, relevance (0 or 1)."""
        self._read()
        rows = [(query, id, relevance) for (query, id), relevance in self._relevance.items()]
        return pd.DataFrame(rows, columns=COLUMNS[:3])


def _complete(content: bytes) -> int:
    """The length of the complete lines of a CSV file; line breaks within quotes do not end a line."""
    end = content.rfind(b"\n") + 1
    while content.count(b'"', 0, end) % 2:
        end = content.rfind(b"\n", 0, end - 1) + 1
    return end
