"""The metadata store in PostgreSQL: for several machines.

psycopg's blocking interface in threads, over a pool. What keeps a process that hangs or is paused from holding up the
others: the row of its role is locked in each of its transactions, and the server ends a transaction that does nothing
for a while, so that the next leader gets the row. Where the connection is lost just at the commit, the transaction may
have happened although MetadataError is raised; whoever tries again finds what it did.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeVar

import psycopg
import trio
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import ConnectionPool

from druidroles.metadata.errors import MetadataError, UnstorableValueError
from druidroles.metadata.postgres_schema import ensure_schema
from druidroles.metadata.sql import Connection, Cursor
from druidroles.metadata.sql_store import SqlMetadataStore, wall_ms

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECTIONS = 4
OPEN_S = 5.0  # to connect, and to wait for a connection of the pool
GIVE_BACK_S = 5.0
RECONNECT_S = 2.0  # for which the pool tries by itself, ever more slowly; after that whoever asks makes it try at once

# Milliseconds. A paused process has its transaction ended before whoever waits for its lock gives up.
_SERVER_OPTIONS = {
    "idle_in_transaction_session_timeout": 5_000,
    "lock_timeout": 8_000,
    "statement_timeout": 30_000,
}
_CONNECTION_OPTIONS = {
    "application_name": "coord druid",
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


@functools.lru_cache(maxsize=256)
def _statement(text: str) -> Any:  # psycopg asks for a LiteralString
    """The statement with psycopg's marks, and with the collation that it names (see sql.py).

    None of ours has a percent sign, or a question mark in a literal.
    """
    return text.replace("?", "%s").replace("/*C*/", 'COLLATE "C"')


class _Statements:
    """A psycopg connection as the statements want it."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def execute(self, statement: str, values: Sequence[Any] = (), /) -> Cursor:
        return self._connection.execute(_statement(statement), values)

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object:
        with self._connection.cursor() as cursor:
            cursor.executemany(_statement(statement), values)
        return None


class _Snapshot:
    def __init__(self, database: PostgresDatabase, connection: psycopg.Connection[Any]) -> None:
        self._database = database
        self._connection = connection

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Snapshot."""
        return await self._database.in_thread(lambda: work(_Statements(self._connection)))


class PostgresDatabase:
    """A `Database` of PostgreSQL. `name` is for errors: without the password."""

    def __init__(self, pool: ConnectionPool[psycopg.Connection[Any]], name: str) -> None:
        self._pool = pool
        self._name = name
        self._limiter = trio.CapacityLimiter(CONNECTIONS)

    async def in_thread(self, work: Callable[[], T], *, abandon: bool = True) -> T:
        """`work` in a thread. psycopg's errors become MetadataError.

        Who is cancelled does not wait for a server that may have gone: with `abandon` the thread is left to itself,
        and what it was at may or may not happen.
        """

        def run() -> T:
            with _told(self._name):
                return work()

        return await trio.to_thread.run_sync(run, limiter=self._limiter, abandon_on_cancel=abandon)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """See Database."""

        def run() -> T:
            with self._pool.connection() as connection:
                return work(_Statements(connection))

        return await self.in_thread(run)

    async def write(self, role: str, work: Callable[[Connection], T]) -> T:
        """See Database."""

        def run() -> T:
            with self._pool.connection() as connection, connection.transaction():
                statements = _Statements(connection)
                statements.execute("SELECT epoch FROM coord_leaders WHERE role = ? FOR UPDATE", (role,))
                return work(statements)

        return await self.in_thread(run)

    async def renew(self) -> None:
        """See Database. A database that was dropped says so by itself, and the pool finds the one of its name."""

    async def check(self) -> None:
        """See Database."""

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[_Snapshot]:
        """See Database."""
        connection = await self.in_thread(self._pool.getconn, abandon=False)  # or nobody would give it back
        try:
            begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
            await self.in_thread(lambda: connection.execute(begin))
            yield _Snapshot(self, connection)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + GIVE_BACK_S):
                await trio.to_thread.run_sync(self._give_back, connection, abandon_on_cancel=True)

    def _give_back(self, connection: psycopg.Connection[Any]) -> None:
        try:
            connection.rollback()
        except psycopg.Error as error:
            log.debug("a connection to %s is of no more use: %s", self._name, error)
            connection.close()
        self._pool.putconn(connection)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What psycopg raises inside the block, as MetadataError."""
    try:
        yield
    except (psycopg.DataError, UnicodeEncodeError) as error:
        raise UnstorableValueError(f"the metadata store cannot hold a value: {' '.join(str(error).split())}") from error
    except psycopg.Error as error:
        raise MetadataError(f"metadata store {name}: {' '.join(str(error).split())}") from error


class PostgresMetadataStore(SqlMetadataStore):
    """A `MetadataStore` in PostgreSQL. Made by `open_postgres_store`."""


def _conninfo(url: str) -> tuple[str, str]:
    """What libpq is told, and the name of the database without its password. Raises MetadataError."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise MetadataError(f"metadata store: not a PostgreSQL URL: {' '.join(str(error).split())}") from None
    options = " ".join([str(given.get("options") or ""), *(f"-c {key}={n}" for key, n in _SERVER_OPTIONS.items())])
    host, port = given.get("host") or "local socket", given.get("port") or 5432
    name = f"postgresql://{host}:{port}/{given.get('dbname') or given.get('user') or ''}"
    settings: dict[str, Any] = {**_CONNECTION_OPTIONS, **given, "options": options.strip()}
    return make_conninfo(**settings), name


def _open(conninfo: str, name: str) -> ConnectionPool[psycopg.Connection[Any]]:
    with _told(name):
        # By itself first: the pool would only say that it had no connection in time.
        with psycopg.connect(conninfo) as connection:
            ensure_schema(connection, name)
        pool: ConnectionPool[psycopg.Connection[Any]] = ConnectionPool(
            conninfo,
            min_size=1,
            max_size=CONNECTIONS,
            timeout=OPEN_S,
            reconnect_timeout=RECONNECT_S,
            kwargs={"autocommit": True},
            check=ConnectionPool.check_connection,
            name=name,
            open=False,
        )
        try:
            pool.open(wait=True, timeout=OPEN_S)
        except psycopg.Error:
            pool.close()
            raise
        return pool


@asynccontextmanager
async def open_postgres_store(url: str, *, clock: Callable[[], int] = wall_ms) -> AsyncIterator[PostgresMetadataStore]:
    """Open the store in the database that `url` names, its tables made if they are not there. Raises MetadataError."""
    conninfo, name = _conninfo(url)
    pool = await trio.to_thread.run_sync(_open, conninfo, name)
    try:
        yield PostgresMetadataStore(PostgresDatabase(pool, name), clock)
    finally:
        with trio.CancelScope(shield=True, deadline=trio.current_time() + GIVE_BACK_S):
            await trio.to_thread.run_sync(pool.close, abandon_on_cancel=True)
