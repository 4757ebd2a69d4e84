"""What a process counts of its connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio
import trio.testing

from coordserver.client import Client
from druidroles.coordination.connection import measure_connection
from druidroles.http.metrics import Metrics

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def test_a_lost_connection_is_counted_when_it_is_back(
    zk: Client, expire: Callable[[Client], Awaitable[None]], eventually: Eventually
) -> None:
    metrics = Metrics()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(measure_connection, zk, metrics)
        await trio.testing.wait_all_tasks_blocked()
        assert "druid_zk_connected 1\n" in metrics.render()
        assert "druid_zk_reconnect_time_count" not in metrics.render()
        await expire(zk)

        async def counted() -> bool:
            return "druid_zk_reconnect_time_count 1\n" in metrics.render()

        await eventually(counted)
        nursery.cancel_scope.cancel(reason="seen")
