"""Who has output to send, and in which order: short outputs at once, long ones in pieces, in rounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from coordserver.server.background import SHARE_S
from coordserver.server.channel import Channel

SENDS_S = 0.002
"""Time for sending short outputs in a turn, where many have some."""

MOST_BACKLOG = 32
"""With more long outputs than this, no more are produced: that would be faster than they can leave."""

_MANY = 64


class Sender:
    """`settle` sends what a channel has, one piece; it is told whether it is the turn of long outputs.

    An output that is woken adds its channel to `dirty`. A channel is in one list at most: its output stays woken.
    """

    def __init__(self, settle: Callable[[Channel, bool], None], meter: Callable[[], float]) -> None:
        self._meter = meter
        self._settle = settle
        self.dirty: list[Channel] = []
        self._backlog: deque[Channel] = deque()

    @property
    def crowded(self) -> bool:
        """Too many long outputs wait to be sent. Those whose peers do not read are not among them."""
        return len(self._backlog) > MOST_BACKLOG

    def put_off(self, channel: Channel) -> None:
        """Send later, behind the short outputs."""
        channel.output.woken = True
        self._backlog.append(channel)

    def send(self) -> bool:
        """Send as far as the shares of a turn allow; whether more is to be sent."""
        while self.dirty:
            dirty, self.dirty = self.dirty, []
            if len(dirty) > _MANY:
                self._send_many(dirty)
            else:
                for channel in dirty:
                    self._settle(channel, False)
        if self._backlog:
            self._send_backlog()
        return bool(self._backlog or self.dirty)

    def _send_many(self, dirty: list[Channel]) -> None:
        clock = self._meter
        end = clock() + SENDS_S
        for channel in dirty:
            if clock() > end:
                self.put_off(channel)
            else:
                self._settle(channel, False)

    def _send_backlog(self) -> None:
        end = self._meter() + (2 * SHARE_S if self.crowded else SHARE_S)
        for _ in range(len(self._backlog)):
            self._settle(self._backlog.popleft(), True)
            if self._meter() > end:
                return
