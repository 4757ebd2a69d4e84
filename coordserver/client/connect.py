"""Opening a client."""

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
from coordserver.core.acl import ACL

CODECS: dict[str, Callable[[], Codec]] = {"": NativeCodec, "coord": NativeCodec, "zk": JuteCodec}
CONNECT_S = 10.0
CLOSE_S = 1.0


def parse_servers(text: str) -> tuple[Callable[[], Codec], list[Host]]:
    """The protocol and the addresses that `zk://h1:2181,h2` and the like stand for. Raises ValueError."""
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
    """A session with one of `hosts` (`h1:2181,h2:2181`), tried in turn, for as long as the block lasts.

    `coord://` before the hosts, or nothing, means servers of this project; `zk://` Apache ZooKeeper, 3.6 or newer, and
    whatever speaks its protocol. There a write that was under way when its connection was lost raises
    ConnectionLossError, because nobody can know what became of it, and streams say RESYNC after each reconnect.

    `tls`: speak TLS. `auth`: credentials (`("digest", b"user:password")`) that each connection begins with; if a server
    refuses them, everything raises AuthFailedError. `default_acl` is that of znodes created without one of their own,
    instead of an open one.

    `session`: the id and password of a session that a predecessor left, to be resumed with all its ephemerals; where it
    has ended, a new one is opened.

    Leaving the block ends the session, and its ephemerals with it, waiting for that at most a second. `session_timeout`
    is in seconds and the server may grant another. Raises ConnectError if no server gave a session within
    `connect_within` seconds, unless `retry_forever`; ValueError if `hosts` cannot be read; CredentialsError if files of
    `tls` cannot.
    """
    default_codec, addresses = parse_servers(hosts)
    if tls is not None:
        tls.context()  # here, because what is wrong with the files is no reason to try again
        dial = dial_tls(tls.context)
    holder = Session(
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
        holder.take_up(*session)
    async with background() as nursery:
        try:
            with trio.move_on_after(math.inf if retry_forever else connect_within) as scope:
                await nursery.start(holder.run)
                holder.outlive()
            if scope.cancelled_caught:
                raise ConnectError(f"no session at {hosts} within {connect_within:g} s; last: {holder.last_failure}")
            yield Client(holder)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await holder.close()
            holder.stop()
