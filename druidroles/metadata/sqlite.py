"""The metadata store in an SQLite file: one writer connection and one for long scans, each in a thread of its own.

WAL lets the scan read one instant while others write, in this process and in others (a Coordinator, its stand-by and
the Overlord open the same file). `synchronous = FULL` makes a commit durable before it is answered: a published segment
is not lost. A statement in a thread cannot be cancelled half-way; every one is short.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from druidroles.metadata.errors import MetadataError
from druidroles.metadata.schema import ensure_schema
from druidroles.metadata.sql import Connection
from druidroles.metadata.sql_store import SqlMetadataStore, wall_ms

T = TypeVar("T")

# How long a statement waits for another process's transaction. Those are short; a longer wait means a stuck process.
BUSY_TIMEOUT_S = 5.0
BUSY_PAUSE_S = 0.01


class _Worker:
    """One connection, used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self.connection = connection
        self._name = name
        self._limiter = trio.CapacityLimiter(1)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` on the connection in a thread. sqlite3's errors become MetadataError."""
        return await trio.to_thread.run_sync(self._run, work, limiter=self._limiter)

    def _run(self, work: Callable[[Connection], T]) -> T:
        try:
            return work(self.connection)
        except sqlite3.Error as error:
            raise MetadataError(f"metadata store {self._name}: {error}") from error


class SqliteDatabase:
    """A `Database` in a file."""

    def __init__(self, main: _Worker, scan: _Worker) -> None:
        self._main = main
        self._scan = scan
        self._scanning = trio.Lock()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await self._main.read(work)

    async def write(self, role: str, work: Callable[[Connection], T]) -> T:
        """See Database. There is one writer at a time, whatever its role."""
        connection = self._main.connection

        def transaction(_: Connection) -> T:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection)

        return await self._main.read(transaction)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[_Worker]:
        """See Database."""
        async with self._scanning:
            try:
                await self._scan.read(lambda c: c.execute("BEGIN"))
                yield self._scan
            finally:
                # Ends the read transaction: here, because a thread could not be waited for once cancelled.
                self._scan.connection.rollback()


class SqliteMetadataStore(SqlMetadataStore):
    """A `MetadataStore` on SQLite. Made by `open_sqlite_store`."""


def _connect(path: Path) -> sqlite3.Connection:
    # isolation_level None: transactions are begun by hand, sqlite3 adds none of its own.
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch a new file to WAL; for one that has it this is a read.

    The switch goes from a read lock to the exclusive one, for which SQLite does not wait where another process already
    has the writer's: both would wait for each other. So it is tried again: whoever makes the file is soon done.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(BUSY_PAUSE_S)
        else:
            return


def _open(path: Path) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    if not path.parent.is_dir():
        raise MetadataError(f"metadata store {path}: the directory {path.parent} does not exist")
    try:
        main = _connect(path)
    except sqlite3.Error as error:
        raise MetadataError(f"metadata store {path}: {error}") from error
    try:
        _use_wal(main)
        ensure_schema(main, str(path))
        return main, _connect(path)
    except sqlite3.Error as error:
        main.close()
        raise MetadataError(f"metadata store {path}: {error}") from error
    except MetadataError:
        main.close()
        raise


@asynccontextmanager
async def open_sqlite_store(path: Path, *, clock: Callable[[], int] = wall_ms) -> AsyncIterator[SqliteMetadataStore]:
    """Open the store in `path`, made if it is not there; the directory must be. Raises MetadataError."""
    main, scan = await trio.to_thread.run_sync(_open, path)
    try:
        database = SqliteDatabase(_Worker(main, str(path)), _Worker(scan, str(path)))
        yield SqliteMetadataStore(database, clock)
    finally:
        scan.close()
        main.close()
