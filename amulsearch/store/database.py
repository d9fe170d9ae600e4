"""The database of a store: one SQLite file. Every row carries a checksum, and every row that is read is verified.

    facts      the folder of the collection and how its pictures are opened, as JSON by name
    pictures   one row per picture that the store has ever seen; its number never changes. `present`: it is in the table
    rejected   the files that were left out, with the reason
    features   one row per fingerprint: the vector file, its width, and when it was last used
    chunks     which pictures a vector file holds, in its order, and the checksums of their vectors
    indexes    the saved indexes: what made them, the pictures they hold, and their files with size and digest

Writers hold one transaction at a time, each in one thread; readers see the state before or after (SQLite's
write-ahead log).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from ..errors import OtherFormatError, StoreError
from .files import inside, unwritable

FORMAT = 4
NAME = "store.sqlite"
REMEDY = "run `amulsearch check --store DIR --repair`, then index the folder again"

LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
PATIENCE = 60.0
"""Seconds to wait for a lock."""

WRITING = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL)
"""The errors of SQLite when a disk takes no more."""

TABLES = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "pictures": (
        "row INTEGER PRIMARY KEY, id TEXT NOT NULL, digest TEXT NOT NULL, present INTEGER NOT NULL, label TEXT, "
        "width INTEGER, height INTEGER, format TEXT, frames INTEGER, bytes INTEGER, keywords TEXT"
    ),
    "rejected": "id BLOB PRIMARY KEY, reason BLOB NOT NULL",
    "features": (
        "feature INTEGER PRIMARY KEY, model TEXT NOT NULL, layer TEXT NOT NULL, fingerprint TEXT NOT NULL UNIQUE, "
        "width INTEGER NOT NULL, file TEXT NOT NULL UNIQUE, used INTEGER NOT NULL"
    ),
    "chunks": "feature INTEGER NOT NULL, first INTEGER NOT NULL, rows BLOB NOT NULL, sums BLOB NOT NULL",
    "indexes": (
        "name TEXT PRIMARY KEY, about TEXT NOT NULL, rows BLOB NOT NULL, folder TEXT NOT NULL UNIQUE, "
        "files TEXT NOT NULL"
    ),
}
"""The columns of each table; the last column of all, `seal`, is the checksum of the others."""

COLUMNS = {table: [part.split()[0] for part in columns.split(", ")] for table, columns in TABLES.items()}

SCHEMA = [
    *(f"CREATE TABLE {table} ({columns}, seal INTEGER NOT NULL)" for table, columns in TABLES.items()),
    "CREATE UNIQUE INDEX contents ON pictures (id, digest)",
    "CREATE UNIQUE INDEX names ON pictures (id) WHERE present",
    "CREATE UNIQUE INDEX places ON chunks (feature, first)",
]


PROGRAMS = "SELECT name FROM sqlite_master WHERE type IN ('trigger', 'view') OR sql LIKE 'CREATE VIRTUAL%'"
"""What would run when a table is read or written, and might never end."""


class _Held:
    """A connection that is closed with its thread or its `Database`; left to itself, it is part of a cycle."""

    def __init__(self, connection: sqlite3.Connection):
        self.connection = connection

    def __del__(self) -> None:
        self.connection.close()


class _Thread(threading.local):
    """What a `Database` keeps for each thread: its connection, and whether it is in a snapshot."""

    held: _Held | None = None
    snapshot = False


class Database:
    """The database of a store. Each thread has a connection of its own, made when the thread first needs it.

    Parameters
    ----------
    folder : Path
        The folder of the store; the file need not exist.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self._thread = _Thread()
        self._made = False

    @property
    def exists(self) -> bool:
        """Whether there are tables; a first run that was killed may leave a file without any."""
        if not self._made and self.path.exists() and self.path.stat().st_size:
            with self._told():
                self._made = self._format_of(self._connect()) > 0
        return self._made

    def close(self) -> None:
        """Close the connection of this thread; the next use makes another."""
        self._thread.held = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Write: a context manager in which all changes are made, or none if it is left by an error.

        Yields
        ------
        sqlite3.Connection

        Raises
        ------
        StoreError
            If the database is damaged or cannot be written, or this thread is in a `snapshot`.
        """
        if self._thread.snapshot:
            raise StoreError(f"{self.path} is only read in a snapshot: write to the store outside of it")
        with self._told():
            connection = self._connect(create=True)
            if connection.in_transaction:  # part of the one that is open
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Read: a context manager in which the state stays as it is, whatever other threads and processes write."""
        with self._told():
            connection = self._connect()
            if connection.in_transaction:
                yield
                return
            connection.execute("BEGIN")
            self._thread.snapshot = True
            try:
                yield
            finally:
                self._thread.snapshot = False
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")

    def select(self, table: str, rest: str = "", values: Sequence = ()) -> Iterator[tuple]:
        """Read rows of a table and verify their checksums.

        Parameters
        ----------
        table : str
            One of `TABLES`.
        rest : str, default ""
            What follows in the SQL statement: WHERE, ORDER BY.
        values : sequence
            Its parameters.

        Yields
        ------
        tuple
            The columns of `COLUMNS[table]`.

        Raises
        ------
        StoreError
            If the database is damaged, or a row does not match its checksum.
        """
        if not self.exists:
            return
        with self._told():
            for *row, seal in self._found(f"SELECT * FROM {table} {rest}", values):
                if seal != sealed(*row):
                    raise StoreError(f"{self.path} was changed or damaged after it was written: {REMEDY}")
                yield tuple(row)

    def query(self, statement: str, values: Sequence = ()) -> Iterator[tuple]:
        """Read columns with any SELECT statement; checksums are not verified.

        Raises
        ------
        StoreError
            If the database is damaged.
        """
        if not self.exists:
            return
        with self._told():
            yield from self._found(statement, values)

    def _found(self, statement: str, values: Sequence) -> Iterable[tuple]:
        try:
            return self._connect().execute(statement, values)
        except UnicodeEncodeError:  # a name that is not UTF-8, as a shell may pass on, is none that is stored
            return ()

    def insert(self, table: str, rows: Iterable[Sequence]) -> None:
        """Add or replace rows, within a transaction; each row has the columns of `COLUMNS[table]`.

        Raises
        ------
        StoreError
            If the database cannot be written.
        """
        with self._told():
            self._connect(create=True).executemany(insertion(table), rows)

    def _connect(self, create: bool = False) -> sqlite3.Connection:
        if self._thread.held is None:
            self._thread.held = _Held(connect(self.path, create=create))
        connection = self._thread.held.connection
        if create and not self._made:
            if not self._format_of(connection):
                make_tables(connection)
            self._made = True
        return connection

    def _format_of(self, connection: sqlite3.Connection) -> int:
        """The format of the database, 0 if it has no tables; OtherFormatError if it is not ours."""
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > FORMAT:
            raise OtherFormatError(f"{self.path.parent} is a store of a newer amulsearch: update amulsearch")
        if 0 < found < FORMAT:
            raise older(self.path.parent)
        return found

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of SQLite as a StoreError."""
        try:
            yield
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0)
            if code & 0xFF in LOCKED or code == sqlite3.SQLITE_IOERR_LOCK:
                raise StoreError(
                    f"{self.path} is locked: wait until the process that writes to it has ended, or give a store on a "
                    "local disk if this one is on a network drive that has no locks"
                ) from None
            if code & 0xFF in WRITING:
                raise unwritable(self.path.parent, OSError(errno.ENOSPC, str(error))) from None
            raise StoreError(f"{self.path} cannot be read ({error}): {REMEDY}") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path} is damaged ({error}): {REMEDY}") from None


def older(folder: Path) -> OtherFormatError:
    """The error for a store of an older version."""
    return OtherFormatError(
        f"{folder} is a store of an older amulsearch: index the pictures again, with another folder for the store"
    )


def connect(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open a database; one in a folder that cannot be written is only read.

    Raises sqlite3.Error if that fails, StoreError if the folder cannot be made, a file is a link out of it, or the
    database holds a program.
    """
    if create:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(path.parent, error) from None
    for ending in ("", "-wal", "-shm", "-journal"):  # SQLite follows links
        inside(path.parent, path.name + ending)
    mode = "rwc" if create else "rw"
    if not create and not os.access(path.parent, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        # The log of a writer is needed if there is one. Without one nothing changes, and nothing is written beside it.
        log = path.with_name(f"{path.name}-wal")
        mode = "ro" if log.exists() and log.stat().st_size else "ro&immutable=1"
    connection = sqlite3.connect(
        f"file:{quote(str(path.absolute()), errors='surrogateescape')}?mode={mode}",
        uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False,
    )  # fmt: skip
    try:
        connection.create_function("sealed", -1, sealed, deterministic=True)
        for (name,) in connection.execute(PROGRAMS):
            raise StoreError(f"{path} holds {name!r}, a program that amulsearch did not write: do not use this store")
    except BaseException:
        connection.close()
        raise
    return connection


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables of an empty database."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("BEGIN IMMEDIATE")
    if not connection.execute("PRAGMA user_version").fetchone()[0]:  # another process may have been first
        for statement in SCHEMA:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {FORMAT}")
    connection.execute("COMMIT")


def insertion(table: str) -> str:
    """The statement that adds or replaces a row with its checksum."""
    marks = ", ".join(f"?{place}" for place in range(1, len(COLUMNS[table]) + 1))
    return f"INSERT OR REPLACE INTO {table} VALUES ({marks}, sealed({marks}))"


def sealed(*values: object) -> int:
    """The CRC-32 of the values of a row."""
    parts = [zlib.crc32(value) if isinstance(value, bytes) else value for value in values]
    return zlib.crc32(repr(parts).encode())
