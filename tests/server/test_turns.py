"""What one turn of the sockets may take, and whose turn it is. Work is counted, not time."""

from __future__ import annotations

import ssl
from itertools import pairwise

import pytest
from authority import Authority
from turn_world import FRAME_S, HANDSHAKE_S, Client, TurnWorld, turn_world

from coordserver.core.model.operations import Op
from coordserver.server.background import SHARE_S
from coordserver.server.channel import SEND_BYTES, Channel
from coordserver.server.poller import BUDGET_S, LIGHT_BYTES
from coordserver.server.turn import ANSWER_BYTES, SLICE_S

DATA = 1 << 20
FRAMES_A_TURN = int((BUDGET_S + 2 * SHARE_S + SLICE_S) / FRAME_S) + 3
"""The foreground, both kinds of the background that handle frames, and one frame beyond each."""


def turns(world: TurnWorld) -> list[int]:
    """How much was done in each turn."""
    return [after - before for before, after in pairwise([0, *world.turns])]


def with_data(world: TurnWorld) -> Client:
    """A settled client, after it has made a znode with 1 MiB of data."""
    client = world.client()
    create = client.request(Op.CREATE, ("/n", bytes(DATA - 100), None, 0, 0))
    while create:
        create = create[client.socket.send(create) :]
        world.settle()
    client.receive()
    for _ in range(3):
        client.send(client.ping())
        world.settle()
    client.receive()
    return client


@pytest.mark.parametrize("speech", ["native", "jute"])
def test_a_turn_ends_between_two_frames_of_one_connection(speech: str) -> None:
    with turn_world() as world:
        greedy, polite = world.client(speech), world.client()
        greedy.send(b"".join(greedy.ping() for _ in range(2_000)))
        world.done.clear()
        world.turns.clear()
        assert not world.sweep()
        assert not world.sweep()
        before = len(world.done)
        polite.send(polite.ping())
        world.sweep()
        assert polite.receive()
        assert len(world.done) - before <= FRAMES_A_TURN
        world.settle()
        assert len(world.done) == 2_001
        assert max(turns(world)) <= FRAMES_A_TURN


def test_many_greedy_connections_go_in_rounds() -> None:
    with turn_world() as world:
        greedy = [world.client() for _ in range(10)]
        for client in greedy:
            client.send(b"".join(client.ping() for _ in range(500)))
        world.done.clear()
        seen = set()
        for _ in range(20):
            world.sweep()
            seen = set(world.done)
        assert len(seen) == 10
        counts = [world.done.count(who) for who in seen]
        assert max(counts) - min(counts) <= 5 * (SLICE_S / FRAME_S + 1)
        world.settle()
        assert len(world.done) == 5_000


def test_a_channel_that_a_turn_has_no_time_for_comes_first_in_the_next() -> None:
    """Epoll reports the same channels in the same order: those at the end would never have their turn."""
    with turn_world() as world:
        clients = [world.client() for _ in range(50)]
        world.done.clear()
        for client in clients:
            client.send(client.ping())
        for _ in range(30):
            world.sweep()
            for client in clients:
                if client.receive():
                    client.send(client.ping())
        counts = [world.done.count(who) for who in set(world.done)]
        assert len(counts) == 50
        assert max(counts) <= 2 * min(counts)


def test_a_turn_is_bounded_in_bytes_of_answers() -> None:
    with turn_world() as world:
        with_data(world)
        greedy = [world.client() for _ in range(40)]
        for client in greedy:
            client.send(b"".join(client.request(Op.GET_DATA, ("/n", False)) for _ in range(3)))
        world.done.clear()
        world.turns.clear()
        world.seconds = 0.0
        world.sweep()
        assert max(turns(world)) <= 2 * (ANSWER_BYTES // DATA + 1)
        for _ in range(2_000):
            world.sweep()
            for client in greedy:
                client.receive()
        assert len(world.done) == 120


def test_a_long_output_leaves_in_pieces_between_which_others_are_sent_to() -> None:
    with turn_world() as world:
        polite = with_data(world)
        greedy = world.client()
        greedy.send(greedy.request(Op.GET_DATA, ("/n", False)))
        got = []
        for _ in range(200):
            polite.send(polite.ping())
            world.poller._turn(world.seconds + BUDGET_S)
            assert polite.receive()
            got.append(greedy.receive())
        assert sum(got) > DATA - 100
        assert max(got) <= SEND_BYTES


def test_long_outputs_have_a_share_of_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    sends: list[int] = []
    send = Channel.send
    with turn_world() as world:
        polite = with_data(world)
        greedy = [world.client() for _ in range(20)]

        def counted(channel: Channel, pending: bytearray, now_ms: int) -> None:
            if len(pending) > LIGHT_BYTES:
                sends.append(channel.fd)
                world.seconds += SHARE_S / 2
            send(channel, pending, now_ms)

        monkeypatch.setattr(Channel, "send", counted)
        for client in greedy:
            client.send(client.request(Op.GET_DATA, ("/n", False)))
        for _ in range(10):
            world.poller._turn(world.seconds + BUDGET_S)
        assert world.poller.memory.output.total > 10 * DATA
        for _ in range(400):
            polite.send(polite.ping())
            before = len(sends)
            world.poller._turn(world.seconds + BUDGET_S)
            assert polite.receive()
            assert len(sends) - before <= 3
            for client in greedy:
                client.receive()
        assert len(set(sends)) == 20
        assert not world.poller.memory.output.total


def test_nobody_who_reads_is_cut_off_for_what_was_produced_faster_than_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    send = Channel.send
    with turn_world(output_total=100 * DATA) as world:
        with_data(world)
        greedy = [world.client() for _ in range(150)]

        def counted(channel: Channel, pending: bytearray, now_ms: int) -> None:
            world.seconds += SHARE_S / 2 if len(pending) > LIGHT_BYTES else 0.0
            send(channel, pending, now_ms)

        monkeypatch.setattr(Channel, "send", counted)
        for _ in range(2):
            for client in greedy:
                client.send(client.request(Op.GET_DATA, ("/n", False)))
        world.done.clear()
        while len(world.done) < 300:
            world.poller._turn(world.seconds + BUDGET_S)
            for client in greedy:
                client.receive()
        assert world.poller.cut_off == 0


def test_settled_sessions_come_before_handshakes(tmp_path_factory: pytest.TempPathFactory) -> None:
    authority = Authority(tmp_path_factory.mktemp("authority"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server().pem)
    with turn_world(context=context) as world:
        polite = world.client()
        for _ in range(60):
            outgoing = ssl.MemoryBIO()
            tls = authority.context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="127.0.0.1")
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            world.client(settled=False).send(outgoing.read())
        newcomer = world.client(settled=False)
        newcomer.send(newcomer.hello())
        world.done.clear()
        world.turns.clear()
        for _ in range(10):
            polite.send(polite.ping())
            world.sweep()
            assert polite.receive()
        assert newcomer.receive(), "one that shakes no hands waits for those that do"
        world.settle()
        assert world.done.count("handshake") == 60
        assert max(turns(world)) <= SHARE_S / HANDSHAKE_S + 2


def test_a_heavy_session_waits_behind_light_ones_and_comes_back() -> None:
    with turn_world() as world:
        heavy = with_data(world)
        channels = {channel.peer.port: channel for channel in world.poller.channels()}
        channel = channels[1]
        assert not channel.background
        heavy.send(heavy.request(Op.GET_DATA, ("/n", False)))
        for _ in range(100):
            world.sweep()
            heavy.receive()
        assert channel.background
        for _ in range(3):
            heavy.send(heavy.ping())
            world.settle()
        assert not channel.background


def test_held_frames_are_not_added_to() -> None:
    """While frames are held back the socket is not read, or they would gather without bound."""
    with turn_world() as world:
        greedy = world.client()
        data = b"".join(greedy.ping() for _ in range(5_000))
        [channel] = world.poller.channels()
        most = 0
        while data or world.poller.memory.input.total:
            if data:
                try:
                    data = data[greedy.socket.send(data) :]
                except BlockingIOError:
                    pass
            world.sweep()
            greedy.receive()
            most = max(most, channel.unread)
        assert 0 < most <= 65_536
