"""How the connection to the coordination servers fares, in Druid's own metrics (DruidConnectionStateListener)."""

from __future__ import annotations

import trio

from coordserver.client import Client, SessionState
from druidroles.http.metrics import Metrics


async def measure_connection(zk: Client, metrics: Metrics) -> None:
    """`zk/connected` and `zk/reconnect/time`, until the client is closed."""
    metrics.gauge(
        "zk/connected",
        "1 while there is a connection to a coordination server, otherwise 0",
        lambda: int(zk.state is SessionState.CONNECTED),
    )
    reconnects = metrics.timer("zk/reconnect/time", "how long the connection was gone, each time it came back")
    gone_since: float | None = None
    async with zk.states() as states:
        async for state in states:
            if state is SessionState.CLOSED:
                return
            if state is not SessionState.CONNECTED:
                gone_since = trio.current_time() if gone_since is None else gone_since
            elif gone_since is not None:
                reconnects.observe(trio.current_time() - gone_since)
                gone_since = None
