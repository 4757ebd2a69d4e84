"""TLS without a socket: any cutting of the bytes, hostile bytes, records that clients wait for, limits that hold."""

from __future__ import annotations

import ssl

import pytest
from authority import Authority, Identity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordserver.core.model.errors import WireError
from coordserver.wire.detect import WireProtocol
from coordserver.wire.jute.client import connect_request
from coordserver.wire.native.client import encode_hello
from coordserver.wire.native.framing import FrameBuffer, Oversized, frame
from coordserver.wire.output import Output
from coordserver.wire.port import PortConnection
from coordserver.wire.tls import TlsConnection

SOFT, HARD = 50_000, 1_000_000
RECORD_HEAD = 5


class Echo:
    """A session of any protocol: says each frame again, the first one too."""

    attached = True
    holds_input = False
    input_bytes = 0

    def __init__(self, output: Output) -> None:
        self.output = output
        self._frames = FrameBuffer(HARD)
        self.got: list[bytes] = []

    @property
    def wants_input(self) -> bool:
        return not self.output.crowded

    def receive(self, data: bytes, now_ms: int, wall_ms: int) -> bool:
        self._frames.feed(data)
        while (body := self._frames.next()) is not None:
            assert not isinstance(body, Oversized)
            self.got.append(body)
            self.output.write(frame(body))
        return False

    def resume(self, now_ms: int, wall_ms: int) -> None: ...

    def lost(self, now_ms: int) -> None: ...


def feed(connection: TlsConnection, data: bytes) -> None:
    """What the driver does with bytes that it read."""
    connection.receive(data, 0, 0)
    while connection.holds_input and connection.wants_input:
        connection.resume(0, 0)


class Both:
    """A client and our side of TLS, and every record that went to the client."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.output = Output(lambda: None, soft=SOFT, hard=HARD)
        self.subject = "nobody yet"
        self.echo: Echo | None = None
        self.connection = TlsConnection(self.output, server, self._inner)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = client.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        self.step = 0  # bytes a piece; 0: as they come
        self._greet()

    def _inner(self, output: Output, subject: str) -> PortConnection:
        self.subject = subject

        def make(out: Output) -> Echo:
            self.echo = Echo(out)
            return self.echo

        def facts() -> None:
            raise AssertionError("nobody asks")

        return PortConnection(output, {WireProtocol.JUTE: make, WireProtocol.NATIVE: make}, facts)  # type: ignore[arg-type]

    def say(self, data: bytes) -> None:
        """Encrypt and send."""
        self._client.write(data)
        self.flush()

    def flush(self) -> None:
        """What the client has encrypted, to our side, in pieces."""
        data = self._out.read()
        for at in range(0, len(data), self.step or max(len(data), 1)):
            feed(self.connection, data[at : at + (self.step or len(data))])
        self.connection.prepare()

    def told(self) -> list[bytes]:
        """What our side sent: record by record, decrypted."""
        data, found = bytes(self.output.pending), []
        self.output.pending.clear()
        while data:
            size = RECORD_HEAD + int.from_bytes(data[3:RECORD_HEAD], "big")
            self._in.write(data[:size])
            data = data[size:]
            try:
                found.append(self._client.read(1 << 20))
            except ssl.SSLWantReadError:
                pass  # a session ticket
        return found

    def _greet(self) -> None:
        for _ in range(10):
            try:
                self._client.do_handshake()
            except ssl.SSLWantReadError:
                self.flush()
                self._in.write(bytes(self.output.pending))
                self.output.pending.clear()
            else:
                self.flush()
                return
        raise AssertionError("the handshake does not end")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> ssl.SSLContext:
    """The server's context, that asks for certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority.server().pem)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(authority.pem)
    return context


@pytest.fixture(scope="module")
def alice(authority: Authority) -> Identity:
    return authority.client("alice")


@pytest.mark.parametrize("step", [0, 1, 7])
def test_any_cutting_of_the_bytes(server: ssl.SSLContext, authority: Authority, alice: Identity, step: int) -> None:
    both = Both(server, authority.context(alice))
    both.step = step
    first = connect_request(timeout_ms=1)
    both.say(first)
    both.say(frame(b"one") + frame(b"two"))
    assert b"".join(both.told()) == first + frame(b"one") + frame(b"two")
    assert both.subject == alice.subject


def test_over_jute_no_record_holds_two_frames(server: ssl.SSLContext, authority: Authority) -> None:
    """kazoo waits for its socket after each frame; what OpenSSL has read ahead would wait with it."""
    both = Both(server, authority.context())
    frames = [connect_request(timeout_ms=1), *(frame(b"x" * size) for size in (0, 1, 500, 16_380, 16_381, 3))]
    both.say(b"".join(frames))
    buffer = FrameBuffer(HARD)
    ends = 0
    for record in both.told():
        buffer.feed(record)
        ended = 0
        while buffer.next() is not None:
            ended += 1
        assert ended <= 1
        assert not (ended and len(buffer)), "a record goes on behind the end of a frame"
        ends += ended
    assert ends == len(frames)


def test_the_native_protocol_fills_records(server: ssl.SSLContext, authority: Authority) -> None:
    both = Both(server, authority.context())
    both.say(encode_hello(timeout_ms=1))
    assert both.echo is not None
    both.echo.output.write(frame(b"x") * 1_000)
    both.connection.prepare()
    assert len(both.told()) == 1


def test_no_more_is_encrypted_than_the_output_takes(server: ssl.SSLContext, authority: Authority) -> None:
    both = Both(server, authority.context())
    both.say(connect_request(timeout_ms=1))
    both.told()
    assert both.echo is not None
    both.echo.output.write(frame(b"x" * 500_000))
    both.connection.prepare()
    assert len(both.output.pending) < SOFT + 20_000
    assert not both.connection.wants_input
    got = b""
    for _ in range(50):
        got += b"".join(both.told())
        both.connection.prepare()
    assert got == frame(b"x" * 500_000)
    assert both.connection.wants_input


def test_an_overflow_inside_is_one_outside(server: ssl.SSLContext, authority: Authority) -> None:
    both = Both(server, authority.context())
    both.say(connect_request(timeout_ms=1))
    assert both.echo is not None
    both.echo.output.write(b"x" * (HARD + 1))
    both.echo.output.write(b"y")
    both.connection.prepare()
    assert both.output.overflowed


def test_the_end_inside_is_said_and_then_the_end_outside(server: ssl.SSLContext, authority: Authority) -> None:
    both = Both(server, authority.context())
    both.say(connect_request(timeout_ms=1))
    assert both.echo is not None
    both.echo.output.write(frame(b"bye"))
    both.echo.output.finish()
    both.connection.prepare()
    assert both.output.finished
    assert both.told()[-1:] == [b""], "TLS was not ended"


def test_the_peers_goodbye_closes(server: ssl.SSLContext, authority: Authority) -> None:
    both = Both(server, authority.context())
    with pytest.raises(ssl.SSLWantReadError):
        both._client.unwrap()
    with pytest.raises(WireError):
        both.flush()


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(min_size=1, max_size=600), min_size=1, max_size=5), st.booleans())
def test_hostile_bytes_raise_the_wires_error_only(server: ssl.SSLContext, pieces: list[bytes], record: bool) -> None:
    output = Output(lambda: None, soft=SOFT, hard=HARD)
    connection = TlsConnection(output, server, lambda out, who: pytest.fail("that was no handshake"))
    try:
        for piece in pieces:
            head = b"\x16\x03\x01" + len(piece).to_bytes(2, "big") if record else b""
            feed(connection, head + piece)
            connection.prepare()
    except WireError:
        pass
    assert len(output.pending) <= 64


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_byte_after_the_handshake(server: ssl.SSLContext, authority: Authority, data: st.DataObject) -> None:
    both = Both(server, authority.context())
    both.say(connect_request(timeout_ms=1))
    both._client.write(frame(b"request"))
    record = bytearray(both._out.read())
    at = data.draw(st.integers(RECORD_HEAD, len(record) - 1))
    record[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(WireError):
        both.connection.receive(bytes(record), 0, 0)
    assert both.echo is not None
    assert b"request" not in both.echo.got
