"""What connections hold is bounded for all of them together: those who hold most go, the polite stay."""

from __future__ import annotations

import gc
import logging
import struct
from pathlib import Path

import pytest
import trio
from raw_client import RawClient, exchange, running
from turn_world import Client, TurnWorld, turn_world

from coordserver.config.server import ConfigError, ServerConfig
from coordserver.core.model.operations import Op
from coordserver.server import memory_guard
from coordserver.server.channel import Channel
from coordserver.server.held_bytes import HeldBytes

MIB = 1 << 20
LIMIT = 8 * MIB


def with_data(world: TurnWorld) -> Client:
    """A client that has made a znode with 1 MB of data."""
    client = world.client()
    create = client.request(Op.CREATE, ("/n", bytes(MIB - 1_000), None, 0, 0))
    while create:
        create = create[client.socket.send(create) :]
        world.settle()
    client.receive()
    return client


def is_served(world: TurnWorld, client: Client) -> bool:
    client.receive()
    client.send(client.ping())
    world.settle()
    return client.receive() > 0


@pytest.mark.parametrize("speech", ["native", "jute"])
def test_unsent_output_of_all_is_bounded_and_the_polite_go_on(speech: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with turn_world(output_total=LIMIT) as world:
        polite = with_data(world)
        greedy = [world.client(speech) for _ in range(40)]
        for client in greedy:
            client.send(client.request(Op.GET_DATA, ("/n", False)))
            world.settle()
            assert world.poller.memory.output.total <= LIMIT
            assert is_served(world, polite)
        assert world.poller.memory.output.total > LIMIT // 2
        cut = world.poller.cut_for_memory
        assert cut == world.poller.cut_off == sum(client.closed for client in greedy)
        assert 20 < cut < 40
        [line, *_] = [record.getMessage() for record in caplog.records if "closed" in record.getMessage()]
        assert "bytes of unsent answers and events, the most of all" in line
        assert f"output_total_bytes is {LIMIT}" in line


def test_who_does_not_read_is_not_read_from_while_all_hold_much() -> None:
    """Before anybody is cut off."""
    with turn_world(output_total=LIMIT) as world:
        polite = with_data(world)
        greedy = [world.client() for _ in range(10)]
        for client in greedy:
            client.send(client.request(Op.GET_DATA, ("/n", False)))
        world.settle()
        assert world.poller.memory.output.pressed
        for client in greedy:
            client.send(client.ping())
        world.settle()  # those that were blocked before all held much are paused now
        world.done.clear()
        for client in greedy:
            client.send(client.ping())
        world.settle()
        assert sum(channel.paused for channel in world.poller.channels()) == 10
        assert not world.done
        assert is_served(world, polite)
        for _ in range(50):
            for client in greedy:
                client.receive()
            world.settle()
        assert not [channel for channel in world.poller.channels() if channel.paused]
        assert len(world.done) >= 10 + 1
        assert world.poller.cut_off == 0
        assert world.poller.memory.output.total == 0


@pytest.mark.parametrize("speech", ["native", "jute"])
@pytest.mark.parametrize("settled", [True, False])
def test_unfinished_input_of_all_is_bounded(speech: str, settled: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with turn_world(input_total=MIB) as world:
        polite = world.client()
        greedy = []
        for _ in range(30):
            client = world.client(speech, settled=settled)
            greedy.append(client)
            client.send((b"" if settled else client.hello()) + struct.pack(">I", 900_000) + bytes(100_000))
            world.settle()
            assert world.poller.memory.input.total <= MIB
            assert is_served(world, polite)
        assert world.poller.cut_for_memory == sum(client.closed for client in greedy) > 10
        assert f"input_total_bytes is {MIB}" in caplog.text


def test_who_holds_most_goes_first_and_of_equals_who_has_held_longest() -> None:
    channels = [object.__new__(Channel) for _ in range(4)]
    held = HeldBytes("bytes", "limit_bytes", 10)
    for channel, size in zip(channels, (3, 5, 5, 1), strict=True):
        held.note(channel, size)
    held.note(channels[3], 9)
    cut = []
    for channel, _ in held.excess():
        cut.append(channels.index(channel))
        held.note(channel, 0)
    assert cut == [3, 1]
    assert held.total == 8
    assert list(held.excess()) == []


async def test_the_totals_are_settings_with_numbers(tmp_path: Path) -> None:
    settings = {"output_total_bytes": 2 * MIB, "output_bytes": MIB}
    async with running(tmp_path / "data", **settings) as server:
        polite = await RawClient.open(server.address)
        await polite.create("/n", bytes(600_000))
        for _ in range(8):
            greedy = await RawClient.open(server.address, receive_buffer=4_096)
            for _ in range(8):
                await greedy.send(Op.GET_DATA, "/n", False)
            assert (await polite.ask(Op.GET_DATA, "/", False)).error == 0
        metrics = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
        with trio.fail_after(20):
            while b"\ncoord_connections_cut_for_memory 0\n" in (told := await exchange(server.address, metrics)):
                await trio.sleep(0.01)
        told = await exchange(server.address, metrics)
        values = dict(line.split() for line in told.decode().splitlines() if line.startswith("coord_"))
        assert 0 < float(values["coord_output_bytes"]) <= 2 * MIB
        assert "coord_input_bytes" in values
        assert (await polite.ask(Op.GET_DATA, "/", False)).error == 0


@pytest.mark.parametrize(
    ("usable", "least", "share"),
    [(1 << 28, MIB, 64 * MIB), (1 << 33, MIB, 256 * MIB), (1 << 40, MIB, 512 * MIB), (1 << 28, 100 * MIB, 100 * MIB)],
)
def test_where_nothing_is_set_it_is_a_share(
    monkeypatch: pytest.MonkeyPatch, usable: int, least: int, share: int
) -> None:
    monkeypatch.setattr(memory_guard, "usable_bytes", lambda: usable)
    assert memory_guard.share_for_connections(least) == share


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"output_total_bytes": MIB}, "output_total_bytes: 1048576 is below output_bytes, 16777216"),
        ({"input_total_bytes": MIB}, "input_total_bytes: 1048576 is below the longest request, 4194304"),
    ],
)
def test_a_total_holds_the_longest_at_least(settings: dict[str, int], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ServerConfig(data_dir=Path("d"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("asks", [False, True])
def test_a_closed_connection_leaves_nothing_to_the_collector(asks: bool) -> None:
    """What has lived for a tick is frozen: a circle of references would never be found again."""
    with turn_world() as world:
        with_data(world)
        gc.collect()
        gc.disable()
        try:
            before = channels()
            client = world.client()
            if asks:
                client.send(client.request(Op.GET_DATA, ("/n", False)))
                world.settle()
                assert world.poller.memory.output.total
            assert channels() == before + 1
            client.socket.close()
            world.settle()
            assert len(world.poller) == 1
            assert world.poller.memory.output.total == 0
            assert channels() == before
        finally:
            gc.enable()


def channels() -> int:
    """Channels that the process holds."""
    return sum(isinstance(found, Channel) for found in gc.get_objects())
