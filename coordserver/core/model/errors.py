"""Every error that coordserver knows, drawn as a tree.

    CoordError
     ├─ KeeperError(code, path)      a legal answer to a request; the connection and the session live on
     │   ├─ NoNodeError, NodeExistsError, BadVersionError, ...      ZooKeeper's codes (KeeperException.Code)
     │   └─ TooLargeError, MalformedError, ThrottledError, ...      ours, native protocol only, below -1000
     ├─ ConnectionLossError          the client lost its connection; a write may or may not have happened
     ├─ OutcomeUnknownError          the session ended with a write unanswered; it may or may not have happened
     ├─ WireError                    the peer broke the protocol: close this connection, nothing else
     └─ StorageError                 the disk failed or lies: stop this server

`definite` says whether the operation surely did not happen. When in doubt it is False.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ErrorCode(IntEnum):
    """Numbers that travel in replies. ZooKeeper's own (KeeperException.Code) down to -127; ours from -1001 on."""

    OK = 0
    SYSTEM_ERROR = -1
    RUNTIME_INCONSISTENCY = -2
    DATA_INCONSISTENCY = -3
    CONNECTION_LOSS = -4
    MARSHALLING_ERROR = -5
    UNIMPLEMENTED = -6
    OPERATION_TIMEOUT = -7
    BAD_ARGUMENTS = -8
    NO_NODE = -101
    NO_AUTH = -102
    BAD_VERSION = -103
    NO_CHILDREN_FOR_EPHEMERALS = -108
    NODE_EXISTS = -110
    NOT_EMPTY = -111
    SESSION_EXPIRED = -112
    INVALID_ACL = -114
    AUTH_FAILED = -115
    SESSION_MOVED = -118
    NOT_READ_ONLY = -119
    NO_WATCHER = -121
    RECONFIG_DISABLED = -123
    SESSION_CLOSED_REQUIRE_SASL_AUTH = -124
    QUOTA_EXCEEDED = -125
    THROTTLED_OP = -127
    # Ours. They travel in the native protocol only; over jute each has a ZooKeeper code to stand for it.
    TOO_LARGE = -1001
    MALFORMED = -1002
    THROTTLED = -1003
    DISK_FULL = -1004
    SEQUENCE_OVERFLOW = -1005
    TOO_MANY_EPHEMERALS = -1006
    LIMIT_EXCEEDED = -1007
    MEMORY_FULL = -1008


class CoordError(Exception):
    """The root of all errors of this package.

    `definite` is True where the operation surely did not take effect.
    """

    definite: ClassVar[bool] = True


class KeeperError(CoordError):
    """An answer that says no. `code` is what travelled; `path` what it was about, where known."""

    code: ClassVar[ErrorCode] = ErrorCode.SYSTEM_ERROR

    def __init__(self, path: str = "", detail: str = "") -> None:
        super().__init__(path, detail)
        self.path = path
        self.detail = detail

    def __str__(self) -> str:
        # Composed only when read: a server raises these for answers as ordinary as "there is no such znode".
        text = type(self).__name__.removesuffix("Error")
        if self.path:
            text += f": {self.path}"
        if self.detail:
            text += f" ({self.detail})"
        return text


class SystemKeeperError(KeeperError):
    """The server failed while it applied the request; the state is unchanged and the server counted it."""

    code = ErrorCode.SYSTEM_ERROR


class RuntimeInconsistencyError(KeeperError):
    """In a failed multi: this operation came after the one that failed."""

    code = ErrorCode.RUNTIME_INCONSISTENCY


class MarshallingError(KeeperError):
    """The request could not be decoded."""

    code = ErrorCode.MARSHALLING_ERROR


class UnimplementedError(KeeperError):
    """The server does not know the operation."""

    code = ErrorCode.UNIMPLEMENTED


class BadArgumentsError(KeeperError):
    """A path, flag or value is not legal."""

    code = ErrorCode.BAD_ARGUMENTS


class NoNodeError(KeeperError):
    """The znode, or the parent it needs, does not exist."""

    code = ErrorCode.NO_NODE


class NoAuthError(KeeperError):
    """The ACL does not allow it."""

    code = ErrorCode.NO_AUTH


class BadVersionError(KeeperError):
    """The expected version is not the current one."""

    code = ErrorCode.BAD_VERSION


class NoChildrenForEphemeralsError(KeeperError):
    """An ephemeral znode cannot have children."""

    code = ErrorCode.NO_CHILDREN_FOR_EPHEMERALS


class NodeExistsError(KeeperError):
    """The znode exists already."""

    code = ErrorCode.NODE_EXISTS


class NotEmptyError(KeeperError):
    """The znode has children."""

    code = ErrorCode.NOT_EMPTY


class SessionExpiredError(KeeperError):
    """The session has ended; its ephemerals are gone."""

    code = ErrorCode.SESSION_EXPIRED


class InvalidACLError(KeeperError):
    """The ACL is empty or has an entry that is not legal."""

    code = ErrorCode.INVALID_ACL


class AuthFailedError(KeeperError):
    """The credentials were refused."""

    code = ErrorCode.AUTH_FAILED


class AuthRequiredError(KeeperError):
    """The server wants proof of who one is before anything else; what was shown is not of a scheme that it takes.

    KeeperException.SessionClosedRequireSaslAuthException, which ZooKeeper uses for every scheme.
    """

    code = ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH


class SessionMovedError(KeeperError):
    """The session is attached to another connection by now."""

    code = ErrorCode.SESSION_MOVED


class NoWatcherError(KeeperError):
    """There is no such watch to remove."""

    code = ErrorCode.NO_WATCHER


class ReconfigDisabledError(KeeperError):
    """Dynamic reconfiguration is off."""

    code = ErrorCode.RECONFIG_DISABLED


class QuotaExceededError(KeeperError):
    """A hard quota forbids it."""

    code = ErrorCode.QUOTA_EXCEEDED


class TooLargeError(KeeperError):
    """A frame or a znode is over its limit, which `detail` names."""

    code = ErrorCode.TOO_LARGE


class MalformedError(KeeperError):
    """A native frame was not a request; `detail` names the field."""

    code = ErrorCode.MALFORMED


class ThrottledError(KeeperError):
    """The server has too much outstanding work; try again later."""

    code = ErrorCode.THROTTLED


class DiskFullError(KeeperError):
    """The server's disk is full; deletes still work."""

    code = ErrorCode.DISK_FULL


class SequenceOverflowError(KeeperError):
    """The parent's sequence counter has reached 2147483647."""

    code = ErrorCode.SEQUENCE_OVERFLOW


class TooManyEphemeralsError(KeeperError):
    """The session holds as many ephemerals as it may."""

    code = ErrorCode.TOO_MANY_EPHEMERALS


class LimitExceededError(KeeperError):
    """Another named limit of the server; `detail` names it."""

    code = ErrorCode.LIMIT_EXCEEDED


class MemoryFullError(KeeperError):
    """The server's memory is as full as it may be: only what makes room is taken."""

    code = ErrorCode.MEMORY_FULL


class ConnectionLossError(CoordError):
    """The connection went away before the answer came. A write may have happened."""

    definite = False


class OutcomeUnknownError(CoordError):
    """The session ended while a write was unanswered, so that its outcome cannot be known."""

    definite = False


class WireError(CoordError):
    """The peer broke the protocol; its connection is closed."""


class StorageError(CoordError):
    """The disk failed, or what it holds cannot be trusted. The server stops."""

    definite = False


def _leaves(base: type[KeeperError]) -> list[type[KeeperError]]:
    return [leaf for cls in base.__subclasses__() for leaf in (cls, *_leaves(cls))]


BY_CODE: dict[int, type[KeeperError]] = {int(cls.code): cls for cls in _leaves(KeeperError)}


def from_code(code: int, path: str = "", detail: str = "") -> KeeperError:
    """The error for a code that came over the wire; an unknown code becomes a SystemKeeperError that names it."""
    cls = BY_CODE.get(code)
    if cls is None:
        return SystemKeeperError(path, f"code {code} {detail}".strip())
    return cls(path, detail)
