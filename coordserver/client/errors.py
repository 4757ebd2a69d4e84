"""The errors that only the client raises. `coordserver.core.model.errors` has the other ones."""

from __future__ import annotations

from coordserver.core.model.errors import CoordError, KeeperError


class ConnectError(CoordError):
    """No server gave a session within the time limit. The text has the last failure."""


class ClientClosedError(CoordError):
    """The client was closed before the call or during it."""

    definite = False


class CredentialsError(CoordError):
    """A certificate, key or credential is unusable. The text names it."""


class TransactionFailedError(CoordError):
    """The transaction failed and had no effect. `index` is the failed operation, from 0, and `cause` its error."""

    def __init__(self, index: int, cause: KeeperError) -> None:
        self.index = index
        self.cause = cause
        super().__init__(f"operation {index}: {cause}")
