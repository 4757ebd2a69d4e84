"""What `mntr` tells, held against all 485 names of a ZooKeeper that stands alone, and numbers of a server at work."""

from __future__ import annotations

import json
from pathlib import Path

from raw_client import RawClient, exchange, running

from coordserver.core.model.operations import Op
from coordserver.wire.admin.metrics import exposition, monitored
from coordserver.wire.admin.monitoring import ServerFacts
from coordserver.wire.admin.zookeeper_metrics import NEVER

ZOOKEEPERS = set((Path(__file__).parent / "data" / "mntr.txt").read_text().split())
PARTS = ("avg", "min", "max", "cnt", "sum")
PERCENTILES = ("p50", "p95", "p99", "p999")
LEFT_OUT = {
    # what happens here and is not counted
    *("insecure_admin_count", "outstanding_changes_queued", "outstanding_changes_removed"),
    "prep_processor_request_queued",
    *(
        f"{part}_{name}"
        for part in PARTS
        for name in (
            *("prep_process_time", "prep_processor_queue_size", "socket_closing_time"),
            *("startup_snap_load_time", "startup_txns_load_time", "sync_process_time", "sync_processor_queue_size"),
        )
    ),
    *(
        f"{part}_{name}"
        for part in PARTS + PERCENTILES
        for name in (
            *("close_session_prep_time", "prep_processor_queue_time_ms", "propagation_latency"),
            *("readlatency", "updatelatency", "sync_processor_queue_and_flush_time_ms"),
            *("sync_processor_queue_flush_time_ms", "sync_processor_queue_time_ms"),
        )
    ),
}


def test_each_of_zookeepers_names_is_told_or_left_out_for_a_reason() -> None:
    ours = [name for name, _ in monitored(ServerFacts(version="x", serving=True))]
    assert len(ours) == len(set(ours))
    told = {*ours, "version", "server_state"}
    assert len(ZOOKEEPERS) == 485
    assert ZOOKEEPERS - told == LEFT_OUT
    assert {name for name in told - ZOOKEEPERS if not name.startswith("coord_")} == set()


def test_what_cannot_happen_is_0_and_not_in_prometheus() -> None:
    assert all(value == 0 for _, value in NEVER)
    text = exposition(ServerFacts(version="x", serving=True))
    assert not any(f"\n{name} " in text for name, _ in NEVER)
    assert "last_client_response_size -1" in text


async def test_numbers_of_a_server_at_work(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        before = await told(server.address)
        assert before["zk_last_client_response_size"] == -1
        assert before["zk_cnt_dbinittime"] == 1
        client = await RawClient.open(server.address)
        await client.create("/n", b"x" * 5_000)
        await client.ask(Op.GET_DATA, "/n", True)
        await client.ask(Op.EXISTS, "/n", False)
        await client.ask(Op.SET_DATA, "/n", b"", -1)
        after = await told(server.address)
    assert after["zk_connection_request_count"] == 1
    assert after["zk_non_mtls_local_conn_count"] >= 2
    assert after["zk_non_mtls_remote_conn_count"] == 0
    assert after["zk_max_client_response_size"] > 5_000 > after["zk_last_client_response_size"] > 0
    assert after["zk_response_bytes"] > after["zk_max_client_response_size"]
    assert after["zk_watch_bytes"] > 0
    assert after["zk_sum_sync_processor_batch_size"] == after["zk_coord_records_logged"] >= 3
    assert 1 <= after["zk_min_sync_processor_batch_size"] <= after["zk_max_sync_processor_batch_size"]


async def test_watchers_and_connections_are_counted_as_a_zookeeper_counts_them(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as server:
        first, second = [await RawClient.open(server.address) for _ in range(2)]
        await first.create("/n")
        for client in (first, second):
            await client.ask(Op.GET_DATA, "/n", True)
        await first.ask(Op.SET_DATA, "/n", b"x", -1)
        await first.ask(Op.SET_DATA, "/n", b"y", -1)  # nobody watches any more
        await second.ask(Op.GET_CHILDREN, "/n", True)
        await second.ask(Op.EXISTS, "/n/c", True)
        await first.create("/n/c")
        await first.ask(Op.GET_DATA, "/n/c", True)
        await first.ask(Op.DELETE, "/n/c", -1)
        await second.stream.aclose()
        await first.ask(Op.PING)
        assert await exchange(server.address, b"ruok") == b"imok"  # the server ends that one
        numbers = await told(server.address)
    tallies = {
        name: tuple(numbers[f"zk_{part}_node_{name}_watch_count"] for part in ("cnt", "sum", "min", "max"))
        for name in ("created", "deleted", "changed", "children")
    }
    assert tallies == {
        "created": (1, 1, 1, 1),
        "deleted": (1, 1, 1, 1),
        "changed": (1, 2, 2, 2),
        "children": (1, 1, 1, 1),
    }
    assert numbers["zk_connection_drop_count"] == 1


async def told(address: str) -> dict[str, float]:
    """The numbers of `mntr`."""
    lines = (await exchange(address, b"mntr")).decode().splitlines()
    pairs = (line.split("\t") for line in lines)
    return {name: float(value) for name, value in pairs if value.replace(".", "").replace("-", "").isdigit()}


async def test_commands_of_an_ensemble_answer_as_a_server_that_stands_alone(tmp_path: Path) -> None:
    async def command(name: str, *, method: str = "GET") -> tuple[str, dict[str, object]]:
        head = f"{method} /commands/{name} HTTP/1.1\r\nHost: localhost\r\nAuthorization: digest a:b\r\n\r\n"
        answer = (await exchange(server.address, head.encode())).decode()
        first, _, body = answer.partition("\r\n\r\n")
        return first.split()[1], json.loads(body)

    async with running(tmp_path / "data") as server:
        plain = {"error": None}
        assert await command("hash") == ("200", {"digests": [], "command": "hash", **plain})
        for name in ("observers", "obsr"):
            found = {"synced_observers": 0, "observers": [], "command": "observers", **plain}
            assert await command(name) == ("200", found)
        assert await command("orst") == ("200", {"command": "observer_connection_stat_reset", **plain})
        assert await command("zabstate") == ("200", {"voting": False, "zabstate": "", "command": "zabstate", **plain})
        for name in ("restore", "rest"):
            status, found = await command(name, method="POST")
            assert (status, found["command"]) == ("503", "restore")
            assert "coord snapshot restore" in str(found["error"])
        assert (await command("server_stats"))[1]["client_response"] == {
            "last_buffer_size": -1,
            "min_buffer_size": -1,
            "max_buffer_size": -1,
        }
