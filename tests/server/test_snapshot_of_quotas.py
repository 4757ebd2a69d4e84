"""A server that enforces quotas, over its snapshots and a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from raw_client import RawClient, running

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op

LIMITS = b"count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=20"


async def test_hard_limits_hold_after_a_snapshot_and_a_restart(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"enforce_quota": True, "snapshot_every": 10}
    data_dir = tmp_path / "data"
    async with running(data_dir, **settings) as server:
        client = await RawClient.open(server.address)
        for path in ("/a", "/zookeeper/quota/a"):
            await client.create(path)
        await client.create("/zookeeper/quota/a/zookeeper_limits", LIMITS)
        await client.create("/zookeeper/quota/a/zookeeper_stats", b"")
        made = [(await client.create(f"/a/{i}")).error for i in range(25)]
        assert made == [0] * 19 + [ErrorCode.QUOTA_EXCEEDED] * 6
    assert list(data_dir.glob("snapshot*"))
    async with running(data_dir, **settings) as server:
        client = await RawClient.open(server.address)
        assert (await client.create("/a/more")).error == ErrorCode.QUOTA_EXCEEDED
        assert (await client.ask(Op.DELETE, "/a/0", -1)).error == 0
        assert (await client.create("/a/more")).error == 0
