"""What one connection has carried and how long its requests took, and the same of a server as a whole.

Counting must cost next to nothing, so a request costs an increment and a reply a few assignments; everything else is
worked out when somebody asks. A request that is answered in the turn in which it was read took no time that is worth a
number, so only what is left over at the end of a turn (writes, and what waits behind them) is stamped, one stamp for
all that one turn left. Numbers never fall back: a reset remembers where they stood.
"""

from __future__ import annotations

from collections import deque

NO_OPERATION = 0
NO_ZXID = -1
NO_XID = -1
NO_SIZE = -1


class Latency:
    """Milliseconds that requests took which had to wait."""

    __slots__ = ("count", "last", "least", "most", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0
        self.least = 0
        self.most = 0
        self.last = 0

    def record(self, ms: int, count: int) -> None:
        """`count` requests took `ms` each."""
        if ms > self.most:  # noqa: PLR1730 - a call of max is three times the price, twice for each request
            self.most = ms
        if ms < self.least or not self.count:
            self.least = ms
        self.last = ms
        self.count += count
        self.total += ms * count

    def least_of(self, answered: int) -> int:
        """The least of `answered` requests, of which those not recorded took no time."""
        return self.least if self.count >= answered else 0

    def average_of(self, answered: int) -> float:
        """The average over `answered` requests."""
        return self.total / answered if answered else 0.0


class ServerTraffic:
    """What all connections of a server share: totals of those that have ended, and counts of what is rare.

    `connects` are handshakes, `resumes` those for a session that there was. `plain_local` and `plain_remote` are
    connections without TLS, of loopback and of other addresses. `response_…` are sizes of replies (-1: none yet).
    """

    def __init__(self) -> None:
        self._latency = Latency()
        self._took_ms = 0
        self._took = 0
        self.auth_failed = 0
        self.rejected = 0
        self.too_large = 0
        self.trace_mask = 306
        self.connects = 0
        self.resumes = 0
        self.plain_local = 0
        self.plain_remote = 0
        self.watch_bytes = 0
        self.response_bytes = 0
        self.response_last = self.response_least = self.response_most = NO_SIZE
        self._ended = (0, 0, 0)
        self._base = (0, 0, 0)

    @property
    def latency(self) -> Latency:
        """Of all connections."""
        if self._took:
            self._latency.record(self._took_ms, self._took)
            self._took = 0
        return self._latency

    def replied(self, size: int) -> None:
        """A reply of so many bytes was written."""
        self.response_bytes += size
        self.response_last = size
        self.response_most = max(self.response_most, size)
        if size < self.response_least or self.response_least == NO_SIZE:
            self.response_least = size

    def greeted(self, session_id: int) -> None:
        """A client asked for a session, or for this one again."""
        self.connects += 1
        self.resumes += session_id != 0

    def plain(self, host: str, change: int) -> None:
        """Connections without TLS of this host are more, or fewer: one begins plain until it begins TLS."""
        if is_loopback(host):
            self.plain_local += change
        else:
            self.plain_remote += change

    def took(self, ms: int, count: int) -> None:
        """`count` requests took `ms` each. Those answered together took the same, and are put down together."""
        if ms != self._took_ms and self._took:
            self._latency.record(self._took_ms, self._took)
            self._took = 0
        self._took_ms = ms
        self._took += count

    def ended(self, traffic: Traffic) -> None:
        """A connection is gone: its counts go into the totals."""
        self._ended = add(self._ended, traffic.counts())

    def totals(self, open_counts: tuple[int, int, int]) -> tuple[int, int, int]:
        """(received, answered, notified) since the last reset; `open_counts` of the connections there are."""
        received, answered, notified = add(self._ended, open_counts)
        base = self._base
        return received - base[0], answered - base[1], notified - base[2]

    def reset(self, open_counts: tuple[int, int, int]) -> None:
        """Begin to count anew."""
        self._base = add(self._ended, open_counts)
        self._latency = Latency()
        self._took = 0
        self.response_last = self.response_least = self.response_most = NO_SIZE


class Traffic:
    """One connection's. Its session is told here too, whatever protocol carries it.

    `received` counts requests, the handshake among them, `answered` replies and `notified` what was sent unasked.
    `waiting` is not 0 while requests are stamped that were not answered in the turn in which they came: all that was
    received by the first of those stamps.
    """

    __slots__ = (
        "_base",
        "_later",
        "_recorded_at",
        "_settled",
        "_since",
        "answered",
        "latency",
        "notified",
        "op",
        "received",
        "server",
        "session_id",
        "timeout_ms",
        "waiting",
        "xid",
        "zxid",
    )

    def __init__(self, server: ServerTraffic | None = None) -> None:
        self.server = server or ServerTraffic()
        self.received = 0
        self.answered = 0
        self.notified = 0
        self.session_id = 0
        self.timeout_ms = 0
        self.op = NO_OPERATION
        self.xid = NO_XID
        self.zxid = NO_ZXID
        self.latency = Latency()
        self.waiting = 0
        self._since = 0
        self._later: deque[tuple[int, int]] = deque()
        self._settled = 0
        self._recorded_at = -1
        self._base = (0, 0, 0)

    def waits(self, now_ms: int) -> None:
        """A turn has ended that leaves requests unanswered."""
        if not self.waiting:
            self.waiting = self.received
            self._since = now_ms
            self._settled = self.answered
        elif (self._later[-1][0] if self._later else self.waiting) != self.received:
            self._later.append((self.received, now_ms))

    def settle(self, now_ms: int) -> None:
        """Answers go out: note how long those took that waited."""
        answered = self.answered
        while self.waiting:
            upto = self.waiting
            count = (upto if upto < answered else answered) - self._settled
            if count > 0:
                ms = now_ms - self._since
                self.latency.record(ms, count)
                self.server.took(ms, count)
                self._settled += count
                self._recorded_at = self._settled
            if answered < upto:
                return
            self.waiting, self._since = self._later.popleft() if self._later else (0, 0)

    @property
    def outstanding(self) -> int:
        """Requests that are not answered yet."""
        return self.received - self.answered

    @property
    def last_latency(self) -> int:
        """Of the last request that was answered."""
        return self.latency.last if self._recorded_at == self.answered else 0

    def welcomed(self, session_id: int, timeout_ms: int, zxid: int, op: int) -> None:
        """The handshake was answered with a session."""
        self.session_id, self.timeout_ms = session_id, timeout_ms
        self.zxid, self.op = zxid, op
        self.answered += 1

    def counts(self) -> tuple[int, int, int]:
        """(received, answered, notified) since the connection was opened."""
        return self.received, self.answered, self.notified

    def since_reset(self) -> tuple[int, int, int]:
        """The same since the last `reset`."""
        base = self._base
        return self.received - base[0], self.answered - base[1], self.notified - base[2]

    def reset(self) -> None:
        """Begin to count anew."""
        self._base = self.counts()
        self.latency = Latency()
        self._recorded_at = -1
        self.op, self.xid, self.zxid = NO_OPERATION, NO_XID, NO_ZXID


def is_loopback(host: str) -> bool:
    """Whether a peer's address is of this machine only."""
    return host == "::1" or host.startswith("127.")


def add(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    """Counts of two."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]
