"""A task whose process starts while the coordination servers are away waits for them, as every role does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from druidroles.coordination.url import CoordUrl
from druidroles.middlemanager.peon import Peon, PeonSettings
from druidroles.middlemanager.task_dir import TaskDirectory


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port on which nobody listens: bound, so that nobody else gets it."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


async def test_a_task_waits_for_the_coordination_servers(
    autojump_clock: MockClock, tmp_path: Path, nobody: int
) -> None:
    settings = PeonSettings(
        directory=TaskDirectory(tmp_path / "task"),
        coord=CoordUrl.parse(f"coord://127.0.0.1:{nobody}/druid"),
        deep_storage=tmp_path / "deep",
        host="127.0.0.1",
        port=0,
        session_timeout_s=10.0,
    )
    peon = Peon(settings, {"type": "noop", "id": "waits"})
    with trio.move_on_after(600) as patience:
        await peon.run()
    assert patience.cancelled_caught
    assert peon.progress.error_msg is None
