"""Errors that only a client can have. The rest of the tree is in `coordserver.core.errors`."""

from __future__ import annotations

from coordserver.core.errors import CoordError, KeeperError


class ConnectError(CoordError):
    """No server of the list gave a session in time; the text says what each answered."""


class ClientClosedError(CoordError):
    """The client was closed while the call waited, or before it."""

    definite = False


class CredentialsError(CoordError):
    """A certificate, key or credential cannot be used; the text names it."""


class TransactionFailedError(CoordError):
    """Nothing of the transaction took effect. `index` is the operation that failed, counted from 0, `cause` why."""

    def __init__(self, index: int, cause: KeeperError) -> None:
        self.index = index
        self.cause = cause
        super().__init__(f"operation {index}: {cause}")
