"""Four-letter words, from what a server tells of itself."""

from __future__ import annotations

import pytest
from server_views import SECOND_MS, FakeServerView

from coordserver.core.model.operations import OPERATIONS, Op
from coordserver.wire.admin import fourletter
from coordserver.wire.admin.access import LISTINGS_AT_ONCE, Admin
from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts
from coordserver.wire.admin.operation_codes import code_of
from coordserver.wire.traffic import Latency

ALL = frozenset(word.decode() for word in fourletter.WORDS)
DOWN = ServerFacts(version="3.9.0-x", serving=False)


def say(view: FakeServerView, word: bytes, argument: bytes = b"") -> str:
    """A word's whole answer."""
    pieces = Admin(view, ALL).word(word, argument)
    assert pieces is not None
    return "".join(pieces)


def slow() -> Latency:
    """Two requests of 3 ms."""
    latency = Latency()
    latency.record(3, 2)
    return latency


def test_server_words() -> None:
    told = ServerFacts(
        version="3.9.0-x", serving=True, zxid=0x1F, znodes=7, received=9, answered=4, notified=2, latency=slow()
    )
    assert say(FakeServerView(told), b"ruok") == "imok"
    assert say(FakeServerView(told), b"isro") == "rw"
    assert say(FakeServerView(told), b"srvr") == (
        "Zookeeper version: 3.9.0-x\nLatency min/avg/max: 0/1.5/3\nReceived: 9\nSent: 6\nConnections: 0\n"
        "Outstanding: 0\nZxid: 0x1f\nMode: standalone\nNode count: 8\n"
    )
    mntr = dict(line.split("\t") for line in say(FakeServerView(told), b"mntr").splitlines())
    assert mntr["zk_server_state"] == "standalone"
    assert (mntr["zk_znode_count"], mntr["zk_avg_latency"], mntr["zk_max_latency"]) == ("8", "1.5", "3")


def test_connections() -> None:
    attached = ConnectionFacts(
        address="127.0.0.1:5",
        operations=1,
        queued=1,
        received=3,
        sent=2,
        session_id=0xAB,
        timeout_ms=4_000,
        last_operation=int(Op.PING),
        last_xid=7,
        opened_ms=9,
        answered_ms=8,
        latency_avg=1.9,
        latency_max=4,
    )
    fresh = ConnectionFacts(address="[::1]:6", operations=0, received=1)
    view = FakeServerView(links=(attached, fresh))
    assert say(view, b"cons").split("\n") == [
        " /127.0.0.1:5[1](queued=1,recved=3,sent=2,sid=0xab,lop=PING,est=9,to=4000,lcxid=0x7,"
        "lzxid=0xffffffffffffffff,lresp=8,llat=0,minlat=0,avglat=1,maxlat=4)",
        " /[::1]:6[0](queued=0,recved=1,sent=0)",
        "",
        "",
    ]
    assert "Clients:\n /127.0.0.1:5[1](queued=1,recved=3,sent=2)\n /[::1]:6[0](queued" in say(view, b"stat")


def test_dump() -> None:
    view = FakeServerView(
        sessions={0x2: SECOND_MS + 900, 0x1: SECOND_MS, 0x3: SECOND_MS + 1},
        owned={0x1: ["/a", "/b"]},
        links=(ConnectionFacts(address="h:1", operations=1, session_id=1, expires_ms=SECOND_MS),),
    )
    assert say(view, b"dump").splitlines() == [
        "SessionTracker dump:",
        "Session Sets (2)/(2):",
        "1 expire at Tue Nov 14 22:13:20 UTC 2023:",
        "\t0x1",
        "2 expire at Tue Nov 14 22:13:21 UTC 2023:",
        "\t0x2",
        "\t0x3",
        "ephemeral nodes dump:",
        "Sessions with Ephemerals (1):",
        "0x1:",
        "\t/a",
        "\t/b",
        "Connections dump:",
        "Connections Sets (1)/(1):",
        "1 expire at Tue Nov 14 22:13:20 UTC 2023:",
        "\tip: /h:1 sessionId: 0x1",
    ]


def test_watches() -> None:
    view = FakeServerView(watched={"/a": [1, 2], "/b": [2]})
    assert say(view, b"wchs") == "1 connections watching 2 paths\nTotal watches:3\n"
    assert say(view, b"wchc") == "0x1\n\t/a\n0x2\n\t/a\n\t/b\n\n"
    assert say(view, b"wchp") == "/a\n\t0x1\n\t0x2\n/b\n\t0x2\n\n"


def test_small_ones() -> None:
    view = FakeServerView()
    assert say(view, b"conf") == "clientPort=2181\ndataDir=/d\n"
    assert say(view, b"envi") == "Environment:\nzookeeper.version=3.9.0-x\n"
    assert say(view, b"dirs") == "datadir_size: 10\nlogdir_size: 20\n"
    assert say(view, b"crst") == "Connection stats reset.\n"
    assert say(view, b"srst") == "Server stats reset.\n"
    assert view.resets == ["connections", "server"]
    assert say(view, b"gtmk") == "306"
    assert say(view, b"stmk", (-2).to_bytes(8, "big", signed=True)) == "-2"
    assert say(view, b"gtmk") == "-2"


@pytest.mark.parametrize("word", sorted(fourletter.WORDS))
def test_while_not_serving(word: bytes) -> None:
    """Administrator's guide: most words say so, a few answer all the same."""
    view = FakeServerView(DOWN)
    answer = say(view, word, bytes(8))
    if word in (b"ruok", b"envi", b"gtmk", b"stmk", b"isro"):
        assert answer != fourletter.NOT_SERVING
    else:
        assert answer == fourletter.NOT_SERVING
        assert view.resets == []
    assert say(view, b"isro") == "null"


def test_a_word_that_is_not_allowed() -> None:
    view = FakeServerView()
    admin = Admin(view, frozenset({"ruok"}))
    assert "".join(admin.word(b"srst", b"") or ()) == "srst is not executed because it is not in the whitelist.\n"
    assert view.resets == []
    assert "".join(admin.word(b"ruok", b"") or ()) == "imok"
    assert admin.word(b"nope", b"") is None


def test_listings_at_once_are_bounded_and_come_back() -> None:
    admin = Admin(FakeServerView(watched={"/a": [1]}), ALL)
    running = [admin.word(b"wchc", b"") for _ in range(LISTINGS_AT_ONCE)]
    for pieces in running:
        assert pieces is not None
        assert next(pieces) == "0x1\n"
    assert "ask again" in "".join(admin.word(b"cons", b"") or ())
    assert "".join(admin.word(b"ruok", b"") or ()) == "imok"
    running.pop().close()  # type: ignore[union-attr]
    assert "".join(admin.word(b"wchp", b"") or ()) == "/a\n\t0x1\n\n"


def test_every_operation_of_zookeeper_has_a_code() -> None:
    ours = {Op.NOOP, Op.ERROR, Op.CONFIGURE, Op.RESUME_SESSION, Op.DELETE_TREE, Op.AUTH}
    assert [row.op for row in OPERATIONS.values() if code_of(row.op) == "NA" and row.op not in ours] == []
