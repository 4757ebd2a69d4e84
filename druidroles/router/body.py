"""A request's body on its way through: passed on as it arrives, and kept, if it is small, to be sent again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import trio
from starlette.requests import ClientDisconnect, Request

from druidroles.http.body import BODY_BYTES_MAX
from druidroles.http.errors import DruidHttpError

REPLAY_BYTES_MAX = 1 << 20  # kept for a second try; queries and most task specs are smaller


class PassingBody:
    """Can be iterated again while `replayable`. Raises the 413, or ClientDisconnect, into whoever iterates."""

    def __init__(self, request: Request, limit: int = BODY_BYTES_MAX) -> None:
        self.complete = trio.Event()
        self._request = request
        self._limit = limit
        self._kept: list[bytes] = []
        self._taken = 0
        self._peeking = False
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise self._too_large()

    @property
    def replayable(self) -> bool:
        """Whether it can be sent once more: it is kept whole, or nothing of it has been taken yet."""
        return self._taken <= REPLAY_BYTES_MAX

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pass(self)

    async def piece(self, number: int) -> bytes:
        """Piece `number`, from what is kept or from the client; empty at the end."""
        if number < len(self._kept):
            return self._kept[number]
        if self.complete.is_set():
            return b""
        data = await self._receive()
        self._taken += len(data)
        if self._taken > self._limit:
            raise self._too_large()
        if self.replayable or self._peeking:
            self._kept.append(data)
        else:
            self._kept.clear()
        return data

    async def peek(self) -> bytes | None:
        """The whole body, to be looked at before it is sent; None where it is longer than what is kept."""
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
        """More of the body, empty at the end only."""
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


class _Pass:
    """One time through a body. Not a generator: a cancelled request would leave one to the collector."""

    def __init__(self, body: PassingBody) -> None:
        self._body = body
        self._number = 0

    def __aiter__(self) -> _Pass:
        return self

    async def __anext__(self) -> bytes:
        data = await self._body.piece(self._number)
        self._number += 1
        if not data:
            raise StopAsyncIteration
        return data
