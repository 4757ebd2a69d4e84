"""The fence over HTTP: a leader's commands carry its epoch, and whoever receives them refuses one that is behind.

An epoch that is higher than those heard so far is believed only if the tree has its contender. Otherwise one wrong
header would have every command of the real leader refused from then on.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio
from starlette.requests import Request

from coordserver.client import CoordError
from druidroles.http.errors import DruidHttpError

log = logging.getLogger(__name__)

EPOCH_HEADER = "X-Coord-Epoch"
CONFIRM_S = 5.0


class EpochGuard:
    """Remembers the highest epoch heard of one leading role. `contends` looks for an epoch's contender in the tree."""

    def __init__(self, role: str, contends: Callable[[int], Awaitable[bool]]) -> None:
        self.highest = 0
        self._role = role
        self._contends = contends

    async def check(self, request: Request) -> None:
        """Let a command through, or raise the 409 that tells a deposed leader so.

        Without the header it is let through: it is an operator's, or Druid's own. Where the tree cannot be asked about
        an epoch that is new, 503: its leader may try again.
        """
        text = request.headers.get(EPOCH_HEADER)
        if text is None:
            return
        if not (text.isascii() and text.isdigit() and len(text) < len(str(2**64))):
            raise DruidHttpError(400, f"{EPOCH_HEADER} {text[:40]!r} is not an epoch")
        epoch = int(text)
        if epoch > self.highest and await self._confirmed(epoch):
            self.highest = max(epoch, self.highest)
        if epoch != self.highest:
            log.warning("a command of the %s of epoch %d is refused: it does not lead", self._role, epoch)
            raise DruidHttpError(
                409,
                f"the {self._role} of epoch {epoch} does not lead; the highest epoch known is {self.highest}",
                error="Stale epoch",
            )

    async def _confirmed(self, epoch: int) -> bool:
        with trio.move_on_after(CONFIRM_S):
            try:
                return await self._contends(epoch)
            except CoordError as fault:
                log.warning("whether the %s of epoch %d leads cannot be seen: %s", self._role, epoch, fault)
        raise DruidHttpError(
            503, f"whether the {self._role} of epoch {epoch} leads cannot be seen now", error="Tree unavailable"
        )
