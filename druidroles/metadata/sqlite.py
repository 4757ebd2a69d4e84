"""The metadata store in an SQLite file: one writer connection and one for long scans, each in a thread of its own.

WAL lets the scan read one instant while others write, in this process and in others (a Coordinator, its stand-by and
the Overlord open the same file). `synchronous = FULL` makes a commit durable before it is answered: a published segment
is not lost. A statement in a thread cannot be cancelled half-way; every one is short.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import trio

from druidroles.metadata.errors import MetadataError, StoreVanishedError, UnstorableValueError
from druidroles.metadata.schema import ensure_schema
from druidroles.metadata.sql import Connection
from druidroles.metadata.sql_store import SqlMetadataStore, wall_ms

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long a statement waits for another process's transaction. Those are short; a longer wait means a stuck process.
BUSY_TIMEOUT_S = 5.0
BUSY_PAUSE_S = 0.01


class _File:
    """Which file the store was opened in. SQLite goes on writing into one that has been unlinked, and says nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, int] | None = None

    def opened(self) -> None:
        """The file at the path is the one that is open now."""
        status = os.stat(self.path)
        self._opened = (status.st_dev, status.st_ino)

    def check(self) -> None:
        """Raise StoreVanishedError unless the file that is open is the one at the path."""
        try:
            status = os.stat(self.path)
        except OSError as fault:
            raise StoreVanishedError(
                f"metadata store {self.path} is gone ({fault.strerror}), nothing more is written: put the file back"
            ) from None
        if self._opened != (status.st_dev, status.st_ino):
            raise StoreVanishedError(
                f"metadata store {self.path} was replaced by another file, nothing more is written to the old one"
            )

    @property
    def is_there(self) -> bool:
        """Whether a file is at the path."""
        return self.path.is_file()


class _Worker:
    """One connection, used by one thread at a time."""

    def __init__(self, connection: sqlite3.Connection, file: _File) -> None:
        self.connection = connection
        self._file = file
        self._name = str(file.path)
        self._limiter = trio.CapacityLimiter(1)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` on the connection in a thread. sqlite3's errors become MetadataError."""
        return await trio.to_thread.run_sync(self._run, work, limiter=self._limiter)

    async def use(self, connection: sqlite3.Connection) -> None:
        """Go over to another connection, when no thread uses the one before."""
        async with self._limiter:
            self.connection.close()
            self.connection = connection

    def _run(self, work: Callable[[Connection], T]) -> T:
        self._file.check()
        try:
            return work(self.connection)
        except UnicodeEncodeError as error:
            raise UnstorableValueError(f"the metadata store cannot hold a value: {error}") from error
        except sqlite3.Error as error:
            raise MetadataError(f"metadata store {self._name}: {error}") from error


class SqliteDatabase:
    """A `Database` in a file."""

    def __init__(self, file: _File, main: _Worker, scan: _Worker) -> None:
        self._file = file
        self._main = main
        self._scan = scan
        self._scanning = trio.Lock()

    async def check(self) -> None:
        """See Database."""
        await trio.to_thread.run_sync(self._file.check)

    async def renew(self) -> None:
        """See Database. A file that is missing is not made: it is waited for."""
        try:
            await self.check()
        except StoreVanishedError:
            if not self._file.is_there:
                raise
            log.warning("metadata store %s was replaced: the file that is there now is opened", self._file.path)
            async with self._scanning:
                main, scan = await trio.to_thread.run_sync(_open, self._file)
                await self._main.use(main)
                await self._scan.use(scan)

    def close(self) -> None:
        """Close both connections."""
        self._scan.connection.close()
        self._main.connection.close()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""
        return await self._main.read(work)

    async def write(self, role: str, work: Callable[[Connection], T]) -> T:
        """See Database. There is one writer at a time, whatever its role."""

        def transaction(_: Connection) -> T:
            connection = self._main.connection
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                result = work(connection)
                self._file.check()  # once more, before the commit says that it is kept
                return result

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


def _open(file: _File) -> tuple[sqlite3.Connection, sqlite3.Connection]:
    path = file.path
    if not path.parent.is_dir():
        raise MetadataError(f"metadata store {path}: the directory {path.parent} does not exist")
    try:
        main = _connect(path)
    except sqlite3.Error as error:
        raise MetadataError(f"metadata store {path}: {error}") from error
    try:
        _use_wal(main)
        ensure_schema(main, str(path))
        scan = _connect(path)
        file.opened()
        return main, scan
    except sqlite3.Error as error:
        main.close()
        raise MetadataError(f"metadata store {path}: {error}") from error
    except MetadataError:
        main.close()
        raise


@asynccontextmanager
async def open_sqlite_store(path: Path, *, clock: Callable[[], int] = wall_ms) -> AsyncIterator[SqliteMetadataStore]:
    """Open the store in `path`, made if it is not there; the directory must be. Raises MetadataError."""
    file = _File(path)
    main, scan = await trio.to_thread.run_sync(_open, file)
    database = SqliteDatabase(file, _Worker(main, file), _Worker(scan, file))
    try:
        yield SqliteMetadataStore(database, clock)
    finally:
        database.close()
