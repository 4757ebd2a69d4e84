"""Opening a client: `connect`."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio

from coordserver.client.background import background
from coordserver.client.client import Client
from coordserver.client.codec import Codec
from coordserver.client.errors import ConnectError
from coordserver.client.jute import JuteCodec
from coordserver.client.native import NativeCodec
from coordserver.client.security import Tls
from coordserver.client.session import Session
from coordserver.client.transport import Dial, Host, dial_tcp, dial_tls, parse_hosts
from coordserver.core.model.acl import ACL

CODECS: dict[str, Callable[[], Codec]] = {"": NativeCodec, "coord": NativeCodec, "zk": JuteCodec}
CONNECT_S = 10.0
CLOSE_S = 1.0


def parse_servers(text: str) -> tuple[Callable[[], Codec], list[Host]]:
    """Return the codec and the addresses of a text such as `zk://h1:2181,h2`. Raises ValueError."""
    scheme, _, hosts = text.rpartition("://")
    if scheme not in CODECS:
        raise ValueError(f"{text!r} does not begin with coord:// or zk://")
    return CODECS[scheme], parse_hosts(hosts)


@asynccontextmanager
async def connect(
    hosts: str,
    *,
    session_timeout: float = 10.0,
    name: str = "",
    connect_within: float = CONNECT_S,
    retry_forever: bool = False,
    session: tuple[int, bytes] | None = None,
    tls: Tls | None = None,
    auth: Sequence[tuple[str, bytes]] = (),
    default_acl: Sequence[ACL] | None = None,
    dial: Dial = dial_tcp,
    codec: Callable[[], Codec] | None = None,
    rng: random.Random | None = None,
) -> AsyncIterator[Client]:
    """Open a session with one of `hosts` (`h1:2181,h2:2181`), which are tried in turn, and yield its client.

    The prefix `coord://`, or no prefix, means servers of this project. `zk://` means Apache ZooKeeper 3.6 or newer, or
    another server with its protocol. With `zk://`, a write that was under way on a lost connection raises
    ConnectionLossError, because its outcome is unknown, and watch streams report RESYNC after each reconnect.

    - `session_timeout` is in seconds. The server may grant another timeout.
    - `session` is the id and password of a session that an earlier process left. The client resumes it with its
      ephemerals. If it has ended, the client opens a new session.
    - `tls` turns TLS on.
    - `auth` has credentials, such as `("digest", b"user:password")`, that are sent on each connection. If a server
      refuses them, every call raises AuthFailedError.
    - `default_acl` is the ACL of znodes that are created without an ACL. The default is an open ACL.
    - `connect_within` limits the time for the first connection, in seconds, unless `retry_forever` is true.

    The end of the block closes the session, which deletes its ephemerals, and waits for that at most CLOSE_S seconds.

    Raises ConnectError if no server gave a session in time, ValueError if `hosts` is invalid, CredentialsError if a
    file of `tls` is unusable.
    """
    default_codec, addresses = parse_servers(hosts)
    if tls is not None:
        tls.context()  # raises for unusable files before the first attempt, because a retry would not help
        dial = dial_tls(tls.context)
    client_session = Session(
        addresses,
        dial,
        codec or default_codec,
        timeout_ms=round(session_timeout * 1000),
        name=name,
        rng=rng or random.Random(),
        auth=auth,
        default_acl=default_acl,
    )
    if session is not None:
        client_session.resume(*session)
    async with background() as nursery:
        try:
            with trio.move_on_after(math.inf if retry_forever else connect_within) as scope:
                await nursery.start(client_session.run)
                client_session.shield()
            if scope.cancelled_caught:
                raise ConnectError(
                    f"no session at {hosts} within {connect_within:g} s; last: {client_session.last_failure}"
                )
            yield Client(client_session)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await client_session.close()
            client_session.stop()
