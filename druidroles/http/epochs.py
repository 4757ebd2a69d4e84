"""The fence over HTTP: a leader's commands carry its epoch, and whoever receives them refuses one that is behind."""

from __future__ import annotations

import logging

from starlette.requests import Request

from druidroles.http.errors import DruidHttpError

log = logging.getLogger(__name__)

EPOCH_HEADER = "X-Coord-Epoch"


class EpochGuard:
    """Remembers the highest epoch heard of one leading role."""

    def __init__(self, role: str) -> None:
        self.highest = 0
        self._role = role

    def check(self, request: Request) -> None:
        """Let a command through, or raise the 409 that tells a deposed leader so.

        Without the header it is let through: it is an operator's, or Druid's own.
        """
        text = request.headers.get(EPOCH_HEADER)
        if text is None:
            return
        if not (text.isascii() and text.isdigit()):
            raise DruidHttpError(400, f"{EPOCH_HEADER} {text!r} is not a number")
        epoch = int(text)
        if epoch < self.highest:
            log.warning("a command of the %s of epoch %d is refused: %d is known", self._role, epoch, self.highest)
            raise DruidHttpError(
                409, f"the {self._role} of epoch {epoch} does not lead: {self.highest} is known", error="Stale epoch"
            )
        self.highest = epoch
