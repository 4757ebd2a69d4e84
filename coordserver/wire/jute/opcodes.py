"""ZooKeeper's operations as they travel (ZooDefs.OpCode), and the xids that mean something (ClientCnxn).

Most are operations of the core under the same number. The variants of create are one operation there; here they differ
in their records and replies.
"""

from __future__ import annotations

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op

RECONFIG = 16
SASL = 102
MULTI_END = -1

NOTIFICATION_XID = -1
PING_XID = -2
AUTH_XID = -4
SET_WATCHES_XID = -8

CREATES = frozenset({int(Op.CREATE), int(Op.CREATE2), int(Op.CREATE_CONTAINER), int(Op.CREATE_TTL)})

# Our own errors, as a client of ZooKeeper understands them best: it knows no codes below -127, and some clients break
# their connection over one that they do not know.
AS_ZOOKEEPER: dict[int, int] = {
    int(ErrorCode.SYSTEM_ERROR): int(ErrorCode.MARSHALLING_ERROR),  # what ZooKeeper answers for any unexpected failure
    int(ErrorCode.MALFORMED): int(ErrorCode.MARSHALLING_ERROR),
    int(ErrorCode.TOO_LARGE): int(ErrorCode.BAD_ARGUMENTS),
    int(ErrorCode.THROTTLED): int(ErrorCode.THROTTLED_OP),
    # Not one of those that clients try again by themselves: the disk is not going to have room in a second.
    int(ErrorCode.DISK_FULL): int(ErrorCode.MARSHALLING_ERROR),
    int(ErrorCode.MEMORY_FULL): int(ErrorCode.MARSHALLING_ERROR),
    int(ErrorCode.SEQUENCE_OVERFLOW): int(ErrorCode.BAD_ARGUMENTS),
    int(ErrorCode.TOO_MANY_EPHEMERALS): int(ErrorCode.BAD_ARGUMENTS),
    int(ErrorCode.LIMIT_EXCEEDED): int(ErrorCode.BAD_ARGUMENTS),
}
