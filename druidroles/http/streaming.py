"""Reading a response's body in a loop that may be left early.

httpx reads through generators inside generators. One that is left in the middle, by `break`, by an error or by a
cancellation that strikes in the loop's body, is left to the garbage collector, and its connection with it. So on the
way out the next piece is asked for in a scope that is cancelled already: that unwinds them all from within.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import trio


@asynccontextmanager
async def open_body(response: httpx2.Response, *, raw: bool = False) -> AsyncIterator[AsyncIterator[bytes]]:
    """The body of a streamed response, piece by piece; `raw`, as it came over the wire."""
    pieces = response.aiter_raw() if raw else response.aiter_bytes()
    try:
        yield pieces
    finally:
        with trio.move_on_after(0, shield=True):  # noqa: ASYNC100 - the reading is the checkpoint
            try:
                async for _ in pieces:
                    pass
            except httpx2.HTTPError:
                pass  # the loop is over; how the rest of the body would have fared concerns nobody
