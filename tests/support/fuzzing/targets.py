"""Each target takes any bytes; whatever it raises is a fault of ours. The codec's own error is what it may raise."""

from __future__ import annotations

from collections.abc import Callable

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import OPERATIONS
from coordserver.wire.detect import detect
from coordserver.wire.jute import client as jute
from coordserver.wire.jute.requests import DECODERS, decode_connect
from coordserver.wire.native import client as native_client
from coordserver.wire.native.connection import decode_hello
from coordserver.wire.native.framing import frame
from coordserver.wire.native.packing import MAX_REPLY_ARRAY, leading_int, unpack, unpack_prefix
from fuzzing.bench import Bench

_REQUESTS = sorted(DECODERS.items())
_RESULTS = sorted(jute._RESULTS)
_OPERATIONS = sorted(OPERATIONS)


def jute_request(data: bytes) -> None:
    """A request record; its first byte chooses the operation."""
    if data:
        _, decode = _REQUESTS[data[0] % len(_REQUESTS)]
        decode(data, 1)


def jute_handshake(data: bytes) -> None:
    """A ConnectRequest."""
    decode_connect(data)


def jute_reply(data: bytes) -> None:
    """What a client reads: a result, an event, a header, a ConnectResponse."""
    if data:
        jute.decode_result(_RESULTS[data[0] % len(_RESULTS)], data, 1)
        jute.decode_event(data, 1)
    jute.decode_reply_header(data)
    jute.decode_connect_response(data)


def native_frame(data: bytes) -> None:
    """A request's or a reply's frame."""
    leading_int(data)
    unpack(data, MAX_REPLY_ARRAY)
    unpack(data)


def native_handshake(data: bytes) -> None:
    """A client's hello."""
    found = unpack_prefix(data, 4_096)
    if found is not None:
        decode_hello(found[0])


def native_reply(data: bytes) -> None:
    """What a client reads after a hello, and the result in it."""
    decoder = native_client.NativeDecoder()
    decoder.feed(_HELLO)
    for message in decoder.feed(frame(data)):
        if isinstance(message, native_client.Reply):
            op = _OPERATIONS[len(data) % len(_OPERATIONS)]
            native_client.decode_multi((op,), message.fields)
            native_client.decode_result(op, message.fields)


def native_greeting(data: bytes) -> None:
    """A server's hello, from the first byte."""
    native_client.NativeDecoder().feed(data)


def jute_connection(data: bytes) -> None:
    """A connection after its handshake; the first byte cuts the rest in pieces."""
    wire = Bench().jute()
    wire.say(jute.connect_request(timeout_ms=10_000))
    wire.say(data[1:], data[0] % 16 if data else 0)
    wire.connection.lost(0)


def native_connection(data: bytes) -> None:
    """The same over the native protocol."""
    wire = Bench().native()
    wire.say(native_client.encode_hello(timeout_ms=10_000))
    wire.say(data[1:], data[0] % 16 if data else 0)
    wire.connection.lost(0)


def first_bytes(data: bytes) -> None:
    """A connection of either protocol from its first byte, and what tells them apart."""
    detect(data)
    Bench().jute().say(data)
    Bench().native().say(data)


def _hello() -> bytes:
    return Bench().native().say(native_client.encode_hello(timeout_ms=10_000))


_HELLO = _hello()

TARGETS: tuple[Callable[[bytes], None], ...] = (
    jute_request,
    jute_handshake,
    jute_reply,
    native_frame,
    native_handshake,
    native_reply,
    native_greeting,
    jute_connection,
    native_connection,
    first_bytes,
)


def attempt(target: Callable[[bytes], None], data: bytes) -> None:
    """Run one target; the codec's own error is a good answer."""
    try:
        target(data)
    except WireError:
        pass
