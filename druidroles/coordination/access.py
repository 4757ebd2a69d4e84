"""How a process is let in by the coordination servers: TLS, credentials, and the ACL of what it creates.

A task's process inherits it from its MiddleManager through the environment, which, unlike a command line, only its
owner can read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import attrs

from coordserver.client import CREATOR_ALL_ACL, Auth, Client, Tls, connect

VARIABLE = "COORD_ACCESS"


@attrs.frozen(kw_only=True)
class CoordAccess:
    """What to show. `creator_acl` makes every znode its creator's alone, as Druid's `druid.zk.service.acl` does."""

    tls: Tls | None = None
    auth: tuple[Auth, ...] = ()
    creator_acl: bool = False

    def connect(
        self,
        servers: str,
        *,
        session_timeout: float,
        name: str,
        session: tuple[int, bytes] | None = None,
        retry_forever: bool = False,
    ) -> AbstractAsyncContextManager[Client]:
        """`coordserver.client.connect`, with it."""
        return connect(
            servers,
            session_timeout=session_timeout,
            name=name,
            session=session,
            retry_forever=retry_forever,
            tls=self.tls,
            auth=self.auth,
            default_acl=CREATOR_ALL_ACL if self.creator_acl else None,
        )

    def environment(self) -> dict[str, str]:
        """What a process started by this one must have in its environment to be let in the same way."""
        if self == OPEN:
            return {}
        tls = None
        if self.tls is not None:
            tls = [_text(self.tls.ca), _text(self.tls.cert), _text(self.tls.key), self.tls.check_hostname]
        auth = [[scheme, secret.decode("utf-8", "surrogateescape")] for scheme, secret in self.auth]
        return {VARIABLE: json.dumps([tls, auth, self.creator_acl])}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> CoordAccess:
        """What `environment` said; open where there is nothing."""
        text = environment.get(VARIABLE)
        if text is None:
            return OPEN
        tls, auth, creator_acl = json.loads(text)
        return cls(
            tls=None if tls is None else _tls(*tls),
            auth=tuple(Auth(scheme, secret.encode("utf-8", "surrogateescape")) for scheme, secret in auth),
            creator_acl=creator_acl,
        )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _tls(ca: Any, cert: Any, key: Any, check_hostname: bool) -> Tls:
    files = {name: Path(file) for name, file in (("ca", ca), ("cert", cert), ("key", key)) if file is not None}
    return Tls(**files, check_hostname=check_hostname)


OPEN = CoordAccess()
"""No TLS, no credentials, open ACLs."""
