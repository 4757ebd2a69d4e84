"""The body of a proxied request: it is forwarded as it arrives, and a small body is stored so that it can be resent."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
from starlette.requests import ClientDisconnect, Request

from druidroles.http.body import BODY_BYTES_MAX
from druidroles.http.errors import DruidHttpError

REPLAY_BYTES_MAX = 1 << 20  # the largest body that is stored for a retry; queries and most task specs are smaller


class PassingBody:
    """An asynchronous iterable over the bytes of a request's body, which can be iterated again while `replayable`.

    The constructor and the iteration raise DruidHttpError 413 if the body exceeds `limit` bytes. The iteration raises
    ClientDisconnect if the client closes the connection. `complete` is set once the whole body has been received.
    """

    def __init__(self, request: Request, limit: int = BODY_BYTES_MAX) -> None:
        self.complete = trio.Event()
        self._request = request
        self._limit = limit
        self._kept: list[bytes] = []
        self._received = 0
        self._peeking = False
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise self._too_large()

    @property
    def replayable(self) -> bool:
        """Whether the body can be sent again, because everything received so far is stored."""
        return self._received <= REPLAY_BYTES_MAX

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _BodyIterator(self)

    async def piece(self, number: int) -> bytes:
        """Return the piece with this number, counted from 0, from the store or from the client; empty at the end.

        Pieces that are not stored must be read in order.
        """
        if number < len(self._kept):
            return self._kept[number]
        if self.complete.is_set():
            return b""
        data = await self._receive()
        self._received += len(data)
        if self._received > self._limit:
            raise self._too_large()
        if self.replayable or self._peeking:
            self._kept.append(data)
        else:
            self._kept.clear()
        return data

    async def peek(self) -> bytes | None:
        """Receive and return the whole body before it is forwarded.

        Returns None if the body is longer than REPLAY_BYTES_MAX. The body can still be iterated once then.
        """
        pieces: list[bytes] = []
        self._peeking = True
        try:
            while self.replayable:
                data = await self.piece(len(pieces))
                if not data:
                    return b"".join(pieces)
                pieces.append(data)
        finally:
            self._peeking = False
        return None

    async def _receive(self) -> bytes:
        """Receive the next bytes of the body. Returns no bytes only at the end of the body."""
        while not self.complete.is_set():
            message = await self._request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            if not message.get("more_body", False):
                self.complete.set()
            data: bytes = message.get("body", b"")
            if data:
                return data
        return b""

    def _too_large(self) -> DruidHttpError:
        return DruidHttpError(
            413, f"the request body is over the limit of {self._limit} bytes", error="Request too large"
        )


class _BodyIterator:
    """One iteration over a body.

    It is not an asynchronous generator, because a cancelled request would leave an unclosed generator to the garbage
    collector.
    """

    def __init__(self, body: PassingBody) -> None:
        self._body = body
        self._number = 0

    def __aiter__(self) -> _BodyIterator:
        return self

    async def __anext__(self) -> bytes:
        data = await self._body.piece(self._number)
        self._number += 1
        if not data:
            raise StopAsyncIteration
        return data
