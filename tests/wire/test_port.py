"""Answers that the port gives by itself: whole, in slices, and as fast as the peer takes them."""

from __future__ import annotations

import pytest
from server_views import FakeServerView

from coordserver.core.model.errors import WireError
from coordserver.wire.admin import fourletter
from coordserver.wire.admin.access import Admin
from coordserver.wire.detect import WireProtocol
from coordserver.wire.output import Output
from coordserver.wire.port import HTTP_ONLY, TLS_ONLY, TURN_PIECES, PortConnection

ALL = frozenset(word.decode() for word in fourletter.WORDS)


def port(
    admin: Admin | None = None, *, soft: int = 1 << 20, speaks: frozenset[WireProtocol] | None = None
) -> PortConnection:
    """A connection that carries no sessions."""
    output = Output(lambda: None, soft=soft, hard=1 << 24)
    more = {} if speaks is None else {"speaks": speaks}
    return PortConnection(output, {}, admin or Admin(FakeServerView(), ALL), **more)


def feed(connection: PortConnection, *pieces: bytes) -> bytes:
    """Bytes in, what is pending out."""
    for piece in pieces:
        connection.receive(piece, 0, 0)
    sent = bytes(connection.output.pending)
    connection.output.pending.clear()
    return sent


def many(count: int) -> Admin:
    """One that has many watches to tell of."""
    return Admin(FakeServerView(watched={f"/{n:07}": [n] for n in range(count)}), ALL)


def test_a_word_is_answered_and_the_connection_ends() -> None:
    connection = port()
    assert feed(connection, b"r", b"u", b"o", b"k") == b"imok"
    assert connection.output.finished
    assert not connection.hears
    assert feed(connection, b"\r\n") == b""
    assert connection.traffic.received == 1


def test_a_word_with_an_argument_waits_for_all_of_it() -> None:
    connection = port()
    word = b"stmk" + (12).to_bytes(8, "big")
    for at in range(len(word) - 1):
        assert feed(connection, word[at : at + 1]) == b""
        assert not connection.output.finished
        assert connection.hears
    assert feed(connection, word[-1:] + b"\n") == b"12"


def test_a_word_that_is_refused_is_refused_before_its_argument() -> None:
    """As ZooKeeper does: a client that shows only the word waits for the answer."""
    connection = port(Admin(FakeServerView(), frozenset({"ruok"})))
    assert feed(connection, b"stmk") == b"stmk is not executed because it is not in the whitelist.\n"
    assert connection.output.finished


def test_unknown_words_are_an_error() -> None:
    with pytest.raises(WireError):
        port().receive(b"nope", 0, 0)


def test_a_request_may_come_in_pieces() -> None:
    assert feed(port(), b"GET /li", b"vez HTTP/1.1\r\n", b"\r\n").endswith(b"\r\n\r\nok\n")


def test_a_long_answer_comes_in_slices_and_only_as_it_is_read() -> None:
    connection = port(many(10 * TURN_PIECES), soft=1_000)
    answer = feed(connection, b"wchp")
    assert 1_000 < len(answer) < 20 * TURN_PIECES
    turns = 1
    assert connection.settled
    while connection.holds_input:
        assert not connection.hears, "a peer that has closed its half would be taken for gone"
        connection.resume(0, 0)
        assert connection.output.crowded or not connection.holds_input
        assert not connection.wants_input
        answer += feed(connection)
        assert connection.wants_input or connection.output.finished
        turns += 1
    assert turns > 10
    assert connection.output.finished
    assert answer.count(b"\t0x") == 10 * TURN_PIECES
    assert answer.endswith(b"\n\n")


def test_a_long_answer_over_http() -> None:
    connection = port(many(3 * TURN_PIECES))
    answer = feed(connection, b"GET /commands/wchp HTTP/1.1\r\n\r\n")
    while connection.holds_input:
        connection.resume(0, 0)
        answer += feed(connection)
    assert b"Content-Length" not in answer
    assert answer.endswith(b'"error" : null\n}')


def test_a_peer_that_goes_away_gives_its_place_to_others() -> None:
    admin = many(10 * TURN_PIECES)
    for _ in range(100):
        connection = port(admin)
        assert feed(connection, b"wchc").startswith(b"0x0\n")
        connection.lost(0)
        assert not connection.holds_input


@pytest.mark.parametrize(
    ("speaks", "data"),
    [
        (TLS_ONLY, b"ruok"),
        (TLS_ONLY, b"GET /livez HTTP/1.1\r\n\r\n"),
        (HTTP_ONLY, b"ruok"),
        (HTTP_ONLY, b"\x16\x03\x01"),
    ],
)
def test_what_is_not_spoken_here_is_an_error(speaks: frozenset[WireProtocol], data: bytes) -> None:
    with pytest.raises(WireError, match="not spoken here"):
        port(speaks=speaks).receive(data, 0, 0)


def test_http_only_speaks_http() -> None:
    assert feed(port(speaks=HTTP_ONLY), b"GET /livez HTTP/1.1\r\n\r\n").endswith(b"ok\n")
