"""The trio client of coordserver. `connect` opens a session and yields a `Client`:

async with connect("h1:2181,h2:2181") as zk:
    await zk.create("/app", b"data")
    async with zk.watch("/app", recursive=True) as events:
        async for event in events: ...
"""

from coordserver.client.client import Client
from coordserver.client.connect import connect
from coordserver.client.errors import ClientClosedError, ConnectError, CredentialsError, TransactionFailedError
from coordserver.client.recipes.ephemeral import Announcement, announced
from coordserver.client.recipes.leader_latch import Leader, LeaderLatch, Term, leader
from coordserver.client.recipes.tree_cache import CacheChange, TreeCache
from coordserver.client.security import Auth, Tls
from coordserver.client.transaction import Transaction
from coordserver.client.values import Created, Node, SessionState, TxResult, WatchEvent, WatchKind
from coordserver.client.watches import WatchStream
from coordserver.core.model.acl import ACL, CREATOR_ALL_ACL
from coordserver.core.model.errors import (
    AuthFailedError,
    BadVersionError,
    ConnectionLossError,
    CoordError,
    KeeperError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    OutcomeUnknownError,
    SessionExpiredError,
    ThrottledError,
    TooLargeError,
)
from coordserver.core.model.stat import Stat

__all__ = [
    "connect",
    "Client",
    "Transaction",
    "WatchStream",
    "Created",
    "Node",
    "Stat",
    "ACL",
    "CREATOR_ALL_ACL",
    "Auth",
    "Tls",
    "TxResult",
    "WatchEvent",
    "WatchKind",
    "SessionState",
    "TreeCache",
    "CacheChange",
    "LeaderLatch",
    "Leader",
    "Term",
    "leader",
    "Announcement",
    "announced",
    "CoordError",
    "ConnectError",
    "CredentialsError",
    "AuthFailedError",
    "ClientClosedError",
    "ConnectionLossError",
    "OutcomeUnknownError",
    "TransactionFailedError",
    "KeeperError",
    "NoNodeError",
    "NodeExistsError",
    "BadVersionError",
    "NotEmptyError",
    "SessionExpiredError",
    "ThrottledError",
    "TooLargeError",
]
