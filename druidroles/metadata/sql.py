"""What the statements need of a database, and the store of one.

The statements are written once, in the SQL that SQLite (3.35 and newer) and PostgreSQL share, with `?` for values. They
are synchronous and run in threads.

A column of text whose order matters has `/*C*/` behind it: PostgreSQL then compares it byte by byte, whatever the
collation of the table (other ones skip signs and colons, and misorder instants). To SQLite, which always does so, it is
a comment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Cursor(Protocol):
    """The outcome of a statement."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection, used by one thread at a time."""

    def execute(self, statement: str, values: Sequence[Any] = ..., /) -> Cursor: ...

    def executemany(self, statement: str, values: Iterable[Sequence[Any]], /) -> object: ...


class Snapshot(Protocol):
    """One instant of the database, read in several steps."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work` in a thread."""
        ...


class Database(Protocol):
    """Connections and threads for them. The database's errors become MetadataError."""

    async def read(self, work: Callable[[Connection], T]) -> T:
        """`work`, which changes nothing, in a thread."""
        ...

    async def write(self, role: str, work: Callable[[Connection], T]) -> T:
        """`work` in a thread, in a transaction that no other of the same leading role runs beside.

        It is committed and durable when this returns, and rolled back where `work` raises.
        """
        ...

    async def renew(self) -> None:
        """See LeaderTable."""
        ...

    async def check(self) -> None:
        """Raise StoreVanishedError if the database that is open is not the one at its place any more."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[Snapshot]:
        """The database as it is now, for as long as the block lasts; nothing is held up by it."""
        ...
