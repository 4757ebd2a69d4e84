"""Several operations that take effect together or not at all (ZooKeeper's multi)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordserver.client.errors import TransactionFailedError
from coordserver.client.session import Session
from coordserver.client.values import TxResult
from coordserver.core.model.acl import ACL
from coordserver.core.model.errors import ErrorCode, from_code
from coordserver.core.model.operations import CreateMode, Op
from coordserver.core.model.stat import Stat

_NOT_EXECUTED = ErrorCode.RUNTIME_INCONSISTENCY


class Transaction:
    """Collects operations and commits them. Each method returns the transaction, so that calls can be chained."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._operations: list[tuple[Any, ...]] = []
        self._size = 0

    def __len__(self) -> int:
        return len(self._operations)

    def check(self, path: str, version: int = -1) -> Transaction:
        """Require that a znode exists and has this version. Version -1 matches any version."""
        return self._add(0, Op.CHECK, path, version)

    def create(
        self,
        path: str,
        data: bytes = b"",
        *,
        ephemeral: bool = False,
        sequence: bool = False,
        acl: Sequence[ACL] | None = None,
    ) -> Transaction:
        """Create a znode. An earlier operation of the same transaction may create its parent."""
        entries = plain_acl(self._session.default_acl if acl is None else acl)
        return self._add(len(data), Op.CREATE, path, bytes(data), entries, create_mode(ephemeral, sequence), 0)

    def set(self, path: str, data: bytes, version: int = -1) -> Transaction:
        """Replace the data of a znode."""
        return self._add(len(data), Op.SET_DATA, path, bytes(data), version)

    def delete(self, path: str, version: int = -1) -> Transaction:
        """Delete a znode without children."""
        return self._add(0, Op.DELETE, path, version)

    def _add(self, size: int, op: Op, path: str, *arguments: Any) -> Transaction:
        self._operations.append((int(op), checked_path(path), *arguments))
        self._size += size + len(path)
        return self

    async def commit(self) -> list[TxResult]:
        """Send the transaction and return the result of each operation.

        Raises TransactionFailedError, which names the failed operation. The transaction has no effect then.
        """
        call = await self._session.request(Op.MULTI, (tuple(self._operations),), size=self._size)
        outcomes = call.result
        for index, (code, _) in enumerate(outcomes):
            if code not in (0, _NOT_EXECUTED):
                raise TransactionFailedError(index, from_code(code, self._operations[index][1]))
        return [
            _to_tx_result(operation[0], result, call.zxid)
            for operation, (_, result) in zip(self._operations, outcomes, strict=True)
        ]


def _to_tx_result(op: int, result: Sequence[Any], zxid: int) -> TxResult:
    stat: Stat | None = None
    if op == Op.CREATE:
        path, *rest = result
        return TxResult(path, rest[0] if rest else None, zxid)
    if op == Op.SET_DATA:
        stat = result[0]
    return TxResult("", stat, zxid)


def plain_acl(acl: Sequence[ACL] | None) -> tuple[tuple[int, str, str], ...] | None:
    """Return an ACL as plain tuples, which the codecs encode."""
    return None if acl is None else tuple((perms, scheme, name) for perms, scheme, name in acl)


def checked_path(path: str) -> str:
    """Return the path. Raises ValueError unless it is a str that begins with a slash. The server checks the rest."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"not an absolute path: {path!r}")
    return path


def create_mode(
    ephemeral: bool = False, sequence: bool = False, container: bool = False, ttl: bool = False
) -> CreateMode:
    """Return the create mode for a combination of flags. Raises ValueError for flags that exclude each other."""
    if container and not (ephemeral or sequence or ttl):
        return CreateMode.CONTAINER
    if container or (ttl and ephemeral):
        raise ValueError("a znode cannot be all of these: ephemeral, sequence, container, TTL")
    if ttl:
        return CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL if sequence else CreateMode.PERSISTENT_WITH_TTL
    if ephemeral:
        return CreateMode.EPHEMERAL_SEQUENTIAL if sequence else CreateMode.EPHEMERAL
    return CreateMode.PERSISTENT_SEQUENTIAL if sequence else CreateMode.PERSISTENT
