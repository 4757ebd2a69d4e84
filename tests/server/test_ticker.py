"""How often the engine's time is driven."""

from __future__ import annotations

from typing import cast
from unittest.mock import Mock

import pytest
import trio
from trio.testing import MockClock

from coordserver.core.serving.engine import Engine
from coordserver.server.clock import SystemClock
from coordserver.server.poller import Poller
from coordserver.server.ticker import Ticker


@pytest.mark.parametrize(("wanted_s", "ticks"), [(60.0, 10), (0.02, 50), (0.0, 200)])
async def test_a_tick_is_as_short_as_what_is_to_happen_most_often(
    autojump_clock: MockClock, wanted_s: float, ticks: int
) -> None:
    """ZooKeeper's users test containers and TTLs with a check every millisecond."""
    engine = Mock(spec=Engine, expiry=Mock(failed=0, fault=""))
    poller = cast("Poller", Mock(sweep=Mock(return_value=True)))
    ticker = Ticker(engine, poller, SystemClock(), lambda now_ms: None, own_process=False)
    with trio.move_on_after(1.0001):
        await ticker.run(wanted_s)
    assert engine.tick.call_count == pytest.approx(ticks, abs=1)


def test_expiries_that_failed_are_told_once_a_tick(caplog: pytest.LogCaptureFixture) -> None:
    engine = Mock(spec=Engine, expiry=Mock(failed=0, fault=""))
    poller = cast("Poller", Mock(sweep=Mock(return_value=True)))
    ticker = Ticker(engine, poller, SystemClock(), lambda now_ms: None, own_process=False)
    ticker.tick(0)
    assert caplog.messages == []
    engine.expiry.failed, engine.expiry.fault = 3, "ValueError"
    ticker.tick(0)
    ticker.tick(0)
    assert caplog.messages == ["sessions cannot be expired and keep their ephemerals: ValueError; they are tried again"]
