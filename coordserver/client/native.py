"""The codec of the native protocol. `coordserver.wire.native.client` encodes and decodes the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordserver.client.codec import Ended, Events, Hello, Message, Reply, Welcome
from coordserver.core.model.operations import Op
from coordserver.wire.native import client as native_client

_OUTSTANDING = 1000  # the default when the server does not send its limit
_FRAME_BYTES = 1024 * 1024


class NativeCodec:
    """The Codec of one connection with the native protocol."""

    def __init__(self) -> None:
        self._decoder = native_client.NativeDecoder()

    @property
    def resends_writes(self) -> bool:
        return True

    def hello(self, hello: Hello) -> bytes:
        return native_client.encode_hello(
            session_id=hello.session_id,
            password=hello.password,
            timeout_ms=hello.timeout_ms,
            last_zxid=hello.last_zxid,
            history_id=hello.history_id,
            name=hello.name,
        )

    def request(self, number: int, op: int, acked: int, args: Sequence[Any]) -> bytes:
        return native_client.encode_request(number, op, acked, args)

    def result(self, op: int, args: Sequence[Any], fields: tuple[Any, ...]) -> tuple[Any, ...]:
        if op == Op.MULTI:
            return native_client.decode_multi([part[0] for part in args[0]], fields)
        if op in (Op.PING, Op.CLOSE_SESSION):
            return ()
        return native_client.decode_result(op, fields)

    def receive(self, data: bytes) -> list[Message]:
        return [_convert_message(message) for message in self._decoder.feed(data)]


def _convert_message(message: native_client.Incoming) -> Message:
    kind = type(message)
    if kind is native_client.Reply:
        return Reply(*message)  # both types have the same fields in the same order
    if isinstance(message, native_client.Events):
        return Events(message.zxid, message.events)
    if isinstance(message, native_client.ServerHello):
        return Welcome(
            error=message.error,
            session_id=message.session_id,
            password=message.password,
            timeout_ms=message.timeout_ms,
            outstanding=message.limits.get("outstanding", _OUTSTANDING),
            frame_bytes=message.limits.get("frame_bytes", _FRAME_BYTES),
            history_id=message.history_id or None,
            zxid=message.zxid,
            last_number=message.last_number,
        )
    if isinstance(message, native_client.SessionEnd):
        return Ended(message.reason)
    raise AssertionError(f"unknown message {message!r}")
