"""Verify the database of a store as a whole, and save what can be read of a damaged one."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from ..errors import StoreError
from .database import COLUMNS, REMEDY, TABLES, Database, connect, insertion, make_tables, sealed
from .files import replacing, unwritable


def unsealed(database: Database) -> dict[str, int]:
    """Count the rows that do not match their checksums, and verify the structure of the file.

    Parameters
    ----------
    database : Database

    Returns
    -------
    dict of str to int
        By table, those with such rows only.

    Raises
    ------
    StoreError
        If the structure of the file is damaged.
    """
    told = [told for (told,) in database.query("PRAGMA integrity_check(1)")]
    if told != ["ok"]:
        raise StoreError(f"{database.path} is damaged ({told[0].splitlines()[0]}): {REMEDY}")
    found = {}
    for table, columns in COLUMNS.items():
        wrong = f"SELECT COUNT(*) FROM {table} WHERE seal IS NOT sealed({', '.join(columns)})"
        if count := next(database.query(wrong))[0]:
            found[table] = count
    return found


def rescue(database: Database) -> int:
    """Replace a damaged database by one with all rows that can still be read and match their checksums.

    Parameters
    ----------
    database : Database

    Returns
    -------
    int
        The number of rows that were kept.

    Raises
    ------
    StoreError
        If the new database cannot be written.
    """
    kept = 0
    with replacing(database.path) as temporary:
        new = connect(temporary, create=True)
        try:
            make_tables(new)
            new.execute("BEGIN")
            for table in TABLES:
                for row in _readable(database.path, table):
                    with suppress(sqlite3.Error, ValueError):  # a value of another type, or a row that repeats another
                        kept += new.execute(insertion(table).replace("OR REPLACE", "OR IGNORE"), row).rowcount
            new.execute("COMMIT")
            new.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise unwritable(database.path, OSError(errno.ENOSPC, str(error))) from None
        finally:
            new.close()
        database.close()
        for ending in ("-wal", "-shm"):  # they belong to the damaged file
            database.path.with_name(database.path.name + ending).unlink(missing_ok=True)
    return kept


def _readable(path: Path, table: str) -> Iterator[tuple]:
    """The rows that can be read, from the first and from the last one up to a damaged page, and match their checksums.

    A row may come twice.
    """
    for order in ("ASC", "DESC"):
        with suppress(sqlite3.Error, StoreError), closing(connect(path)) as connection:
            connection.text_factory = lambda data: data.decode("utf-8", "replace")
            for *row, seal in connection.execute(f"SELECT * FROM {table} ORDER BY rowid {order}"):
                if seal == sealed(*row):
                    yield tuple(row)
