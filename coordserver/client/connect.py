"""Opening a client."""

from __future__ import annotations

import math
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from coordserver.client.background import background
from coordserver.client.client import Client
from coordserver.client.codec import Codec
from coordserver.client.errors import ConnectError
from coordserver.client.native import NativeCodec
from coordserver.client.session import Session
from coordserver.client.transport import Dial, dial_tcp, parse_hosts

CONNECT_S = 10.0
CLOSE_S = 1.0


@asynccontextmanager
async def connect(
    hosts: str,
    *,
    session_timeout: float = 10.0,
    name: str = "",
    connect_within: float = CONNECT_S,
    retry_forever: bool = False,
    session: tuple[int, bytes] | None = None,
    dial: Dial = dial_tcp,
    codec: Callable[[], Codec] = NativeCodec,
    rng: random.Random | None = None,
) -> AsyncIterator[Client]:
    """A session with one of `hosts` (`h1:2181,h2:2181`), tried in turn, for as long as the block lasts.

    `session`: the id and password of a session that a predecessor left, to be resumed with all its ephemerals; where it
    has ended, a new one is opened.

    Leaving the block ends the session, and its ephemerals with it, waiting for that at most a second. `session_timeout`
    is in seconds and the server may grant another. Raises ConnectError if no server gave a session within
    `connect_within` seconds, unless `retry_forever`; ValueError if `hosts` cannot be read.
    """
    holder = Session(
        parse_hosts(hosts),
        dial,
        codec,
        timeout_ms=round(session_timeout * 1000),
        name=name,
        rng=rng or random.Random(),
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
