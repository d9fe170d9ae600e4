"""The database of a store: one SQLite file, of which each table has a checksum.

    facts      the folder of the collection, how its pictures are opened, what was left out, as JSON by name
    pictures   every picture that the store has ever seen; its number never changes. `present`: it is in the table
    features   one row per fingerprint: the vector file, its width, and when it was last used
    chunks     what was appended to a vector file: the numbers of the pictures, and a checksum of these and the vectors
    indexes    the saved indexes: what made them, their folder, and their files with size and digest
    checksums  the checksum of each of the other tables but `chunks`

One writer at a time; readers see the state before or after (SQLite's write-ahead log).
"""

import sqlite3
import threading
import weakref
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import OtherFormatError, StoreError
from .files import inside, unwritable, writable

FORMAT = 6
NAME = "store.sqlite"
REMEDY = "run `amulsearch check --store DIR --repair`, then index the folder again"

PATIENCE = 60.0
"""Seconds to wait for a lock."""

LOCKED = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_IOERR_LOCK}
WRITING = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL}
"""The errors of SQLite when a disk takes no more."""

TABLES = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "pictures": (
        "number INTEGER PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL, present INTEGER NOT NULL, label TEXT, "
        "width INTEGER, height INTEGER, format TEXT, frames INTEGER, bytes INTEGER, keywords TEXT"
    ),
    "features": (
        "feature INTEGER PRIMARY KEY, model TEXT NOT NULL, layer TEXT NOT NULL, fingerprint TEXT NOT NULL UNIQUE, "
        "width INTEGER NOT NULL, file TEXT NOT NULL UNIQUE, used INTEGER NOT NULL"
    ),
    "indexes": "name TEXT PRIMARY KEY, about TEXT NOT NULL, folder TEXT NOT NULL UNIQUE, files TEXT NOT NULL",
    "chunks": "feature INTEGER NOT NULL, first INTEGER NOT NULL, numbers BLOB NOT NULL, checksum INTEGER NOT NULL",
    "checksums": "name TEXT PRIMARY KEY, checksum INTEGER NOT NULL",
}
COLUMNS = {table: [part.split()[0] for part in columns.split(", ")] for table, columns in TABLES.items()}

SMALL, SUMMED = ("facts", "features", "indexes"), ("facts", "features", "indexes", "pictures")
"""The tables whose checksum is verified whenever they are read, and those that have one."""

SCHEMA = [
    *(f"CREATE TABLE {table} ({columns})" for table, columns in TABLES.items()),
    "CREATE UNIQUE INDEX contents ON pictures (id, digest)",
    "CREATE UNIQUE INDEX names ON pictures (id) WHERE present",
    "CREATE UNIQUE INDEX places ON chunks (feature, first)",
]

PROGRAMS = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'"
"""What would run when a table is read or written, and might never end."""


class Database:
    """The database in the folder of a store, which need not exist. Its connection is one thread's at a time."""

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._has_tables = False
        self._changed: set[str] = set()
        """The tables that the open transaction has changed."""

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[sqlite3.Connection | None]:
        """See one state, whatever other processes write; all changes are made, or none if it is left by an error."""
        with self._lock, self._store_errors():
            connection = self._connect(create=write)
            if connection is None or connection.in_transaction:  # part of the one that is open
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield connection
                for table in self._changed.intersection(SUMMED):
                    connection.execute(f"INSERT OR REPLACE INTO checksums SELECT '{table}', {_checksum_of(table)}")
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
            finally:
                self._changed.clear()

    def change(self, table: str, statement: str, values: Iterable[Sequence] = ((),)) -> None:
        """Run a statement that changes a table, once for each row of values."""
        with self.transaction() as connection:
            before = connection.total_changes
            connection.executemany(statement, values)
            if connection.total_changes > before:
                self._changed.add(table)

    def insert(self, table: str, rows: Iterable[Sequence]) -> None:
        """Add or replace rows; each has the columns of `COLUMNS[table]`."""
        marks = ", ".join("?" * len(COLUMNS[table]))
        self.change(table, f"INSERT OR REPLACE INTO {table} VALUES ({marks})", rows)

    def select(self, table: str, rest: str = "", values: Sequence = ()) -> Iterator[tuple]:
        """Read the rows that fit the rest of a SELECT statement; the checksum of a small table is verified."""
        if table in SMALL and table not in self._changed:
            self._verify(table)
        return self.query(f"SELECT * FROM {table} {rest}", values)

    def query(self, statement: str, values: Sequence = ()) -> Iterator[tuple]:
        """Read with any SELECT statement; nothing is verified, and nothing read if there is no database."""
        with self._lock, self._store_errors():
            if connection := self._connect():
                with suppress(UnicodeEncodeError):  # a name that is not UTF-8, as a shell may pass on, is not stored
                    yield from connection.execute(statement, values)

    def verify(self) -> None:
        """Verify the structure of the file and the checksums of the tables; StoreError if something is damaged."""
        for (problem,) in self.query("PRAGMA integrity_check(1)"):
            if problem != "ok":
                raise StoreError(f"{self.path} is damaged ({problem.splitlines()[0]}): {REMEDY}")
        for table in SUMMED:
            self._verify(table)

    def _verify(self, table: str) -> None:
        recorded = f"SELECT COALESCE(SUM(checksum), 0) FROM checksums WHERE name = '{table}'"
        if any(wrong for (wrong,) in self.query(f"SELECT {_checksum_of(table)} IS NOT ({recorded})")):
            raise StoreError(f"{self.path} was changed or damaged after it was written: {REMEDY}")

    def delete(self) -> None:
        """Delete the file, and what SQLite keeps beside it."""
        if self._connection:
            self._connection.close()
        self._connection, self._has_tables = None, False
        for path in self._paths():
            path.unlink(missing_ok=True)

    def _paths(self) -> list[Path]:
        return [self.path.with_name(NAME + ending) for ending in ("", "-wal", "-shm", "-journal")]

    def _connect(self, create: bool = False) -> sqlite3.Connection | None:
        """The connection; None without tables: a first run that was killed may leave a file that has none."""
        if not create and not (self.path.exists() and self.path.stat().st_size):
            return None
        if self._connection is None:
            for path in self._paths():  # SQLite follows links
                inside(self.path.parent, path.name)
            self._connection = _connected(self.path, create)
            weakref.finalize(self, self._connection.close)
        if not self._has_tables:
            stored = self._connection.execute("PRAGMA user_version").fetchone()[0]
            if stored not in (0, FORMAT):
                what = f"{self.path.parent} is a store of another version of amulsearch"
                raise OtherFormatError(f"{what}: index the pictures again, with another folder for the store")
            if create and not stored:
                _make_tables(self._connection)
            self._has_tables = create or stored > 0
        return self._connection if self._has_tables else None

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Errors of SQLite as a StoreError."""
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if LOCKED & {code, code & 0xFF}:
                wait = "wait until the process that writes to it has ended"
                other = "give a store on a local disk if this one is on a network drive that has no locks"
                raise StoreError(f"{self.path} is locked: {wait}, or {other}") from None
            if code & 0xFF in WRITING:
                raise unwritable(self.path.parent, error) from None
            raise StoreError(f"{self.path} is damaged ({error}): {REMEDY}") from None


def _connected(path: Path, create: bool) -> sqlite3.Connection:
    """A connection; a database in a folder that cannot be written is only read, one that holds a program refused."""
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path.parent, error) from None
    mode = "rwc" if create else "rw"
    if not create and not writable(path.parent):
        # The log of a writer is needed if there is one. Without one nothing changes, and nothing is written beside it.
        log = path.with_name(f"{path.name}-wal")
        mode = "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()), errors='surrogateescape')}?mode={mode}",
        uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False,
    )  # fmt: skip
    try:
        connection.create_function("crc", -1, _crc, deterministic=True)
        for (name,) in connection.execute(PROGRAMS):
            raise StoreError(f"{path} holds {name!r}, a program that amulsearch did not write: do not use this store")
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tables(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:  # another process may have been first
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def _checksum_of(table: str) -> str:
    """The checksum of a table in SQL: the sum of the CRC-32 of its rows, whatever their order."""
    return f"(SELECT COALESCE(SUM(crc({', '.join(COLUMNS[table])})), 0) FROM {table})"


def _crc(*values: object) -> int:
    return zlib.crc32(repr(values).encode())
