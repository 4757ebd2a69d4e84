"""What the server tells about itself to four-letter words and HTTP, gathered when somebody asks.

Counts are gathered at once; none of them walks the tree. Listings are iterators: whoever answers takes a slice of one,
lets sockets be served, and takes the next (wire/answer.py). Each begins with a copy of the keys it goes over, so what
changes meanwhile may be told or not, and nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from attrs import field, frozen

from coordserver.core.serving.watches import Tally
from coordserver.wire.traffic import Latency


@frozen(kw_only=True)
class ServerFacts:
    """Counts at one moment. `serving` is False while the server starts or stops. Times in ms unless named otherwise."""

    version: str
    serving: bool
    zxid: int = 0
    znodes: int = 0
    watches: int = 0
    ephemerals: int = 0
    data_bytes: int = 0
    sessions: int = 0
    connections: int = 0
    outstanding: int = 0
    outstanding_bytes: int = 0
    received: int = 0
    answered: int = 0
    notified: int = 0
    latency: Latency = field(factory=Latency)
    bytes_received: int = 0
    connections_accepted: int = 0
    connections_rejected: int = 0
    connections_cut_off: int = 0
    connections_cut_for_memory: int = 0
    connections_max: int = 0
    connections_left: int = 0
    handshakes_late: int = 0
    handshakes_failed: int = 0
    output_bytes: int = 0
    input_bytes: int = 0
    tls_handshakes: int = 0
    sessions_expired: int = 0
    auth_failed: int = 0
    requests_too_large: int = 0
    requests_refused: int = 0
    connection_requests: int = 0
    connections_resumed: int = 0
    connections_plain_local: int = 0
    connections_plain_remote: int = 0
    response_bytes: int = 0
    response_last: int = -1
    response_min: int = -1
    response_max: int = -1
    watch_bytes: int = 0
    watchers_told: Mapping[int, Tally] = field(factory=dict)
    start_ms: int = 0
    start_records: int = 0
    batches: int = 0
    batch_records_min: int = 0
    batch_records_max: int = 0
    fsync_min_us: int = 0
    snapshot_min_ms: int = 0
    fsync_last_us: int = 0
    fsync_max_us: int = 0
    fsync_total_us: int = 0
    fsyncs: int = 0
    fsyncs_slow: int = 0
    records_logged: int = 0
    log_bytes: int = 0
    snapshots: int = 0
    snapshot_total_ms: int = 0
    snapshot_max_ms: int = 0
    open_files: int = 0
    open_files_max: int = 0
    uptime_ms: int = 0
    loop_late_max_ms: int = 0
    apply_faults: int = 0
    read_faults: int = 0
    expiry_faults: int = 0
    refusals: Mapping[int, int] = field(factory=dict)
    disk_fullness: int = 0
    disk_free_bytes: int = 0
    memory_bytes: int = 0
    memory_limit_bytes: int = 0

    @property
    def node_count(self) -> int:
        """As ZooKeeper counts, whose tree has the root under two names."""
        return self.znodes + 1 if self.znodes else 0

    @property
    def sent(self) -> int:
        """Replies and events."""
        return self.answered + self.notified

    @property
    def latency_min(self) -> int:
        """Of requests answered since the last reset."""
        return self.latency.least_of(self.answered)

    @property
    def latency_avg(self) -> float:
        """Of requests answered since the last reset."""
        return self.latency.average_of(self.answered)


@frozen(kw_only=True)
class ConnectionFacts:
    """One connection. The session's part means something if `session_id` is not 0.

    `operations` are the bits of what its socket is watched for: 1 reading, 4 writing. `opened_ms` is wall time;
    `answered_ms`, of its last answer, and `expires_ms` are of the monotonic clock and of wall time.
    """

    address: str
    operations: int
    secure: bool = False
    queued: int = 0
    received: int = 0
    sent: int = 0
    session_id: int = 0
    timeout_ms: int = 0
    last_operation: int = 0
    last_xid: int = -1
    last_zxid: int = -1
    opened_ms: int = 0
    answered_ms: int = 0
    expires_ms: int = 0
    latency_last: int = 0
    latency_min: int = 0
    latency_avg: float = 0.0
    latency_max: int = 0


@frozen
class WatchSummary:
    """How many connections watch how many paths with how many watches, not counting those on children."""

    connections: int
    paths: int
    watches: int


@frozen
class SnapshotFacts:
    """The last snapshot: the zxid it holds the state of, and when it was there, in seconds since 1970."""

    zxid: int
    at_s: int


class SnapshotDownload(Protocol):
    """A snapshot that is being taken, then read. `size` is 0 where it could not be taken."""

    @property
    def done(self) -> bool:
        """It was taken, or could not be."""

    @property
    def size(self) -> int:
        """Bytes, once it is done."""

    @property
    def zxid(self) -> int:
        """Of the state in it."""

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of it; fewer at the end, or where the disk fails."""

    def close(self) -> None:
        """Nobody wants it any more."""


class ServerView(Protocol):
    """A server as it can be asked. Nothing here waits."""

    @property
    def serving(self) -> bool:
        """False while it starts or stops."""

    def facts(self) -> ServerFacts:
        """Counts of this moment."""

    def connections(self) -> Iterator[ConnectionFacts]:
        """All connections, the asking one among them."""

    def expiries(self) -> Iterator[tuple[int, int]]:
        """(session id, wall time at which it expires unless it is heard of before)."""

    def ephemeral_owners(self) -> Sequence[int]:
        """Ids of the sessions that have ephemerals."""

    def ephemerals_of(self, session_id: int) -> Sequence[str]:
        """Paths of a session's ephemerals."""

    def watch_summary(self) -> WatchSummary:
        """How many watches there are."""

    def watches_by_session(self) -> Iterator[tuple[int, Sequence[str]]]:
        """(session id, paths that its connection watches), children watches left out."""

    def watches_by_path(self) -> Iterator[tuple[str, Sequence[int]]]:
        """(path, ids of the sessions that watch it), children watches left out."""

    def configuration(self) -> Mapping[str, str | int]:
        """Settings under ZooKeeper's names."""

    def environment(self) -> Mapping[str, str]:
        """What the process runs in."""

    def properties(self) -> Mapping[str, str | int]:
        """Every setting under its own name, secrets masked."""

    def directory_bytes(self) -> tuple[int, int]:
        """Bytes of snapshots and of the log."""

    def last_snapshot(self) -> SnapshotFacts | None:
        """None before the first."""

    def take_snapshot(self, woken: Callable[[], None]) -> SnapshotDownload:
        """Take a snapshot now; `woken` is called when that is done, not before this returns."""

    def reset_connections(self) -> None:
        """Begin to count each connection anew."""

    def reset_server(self) -> None:
        """Begin to count the server's traffic anew."""

    @property
    def trace_mask(self) -> int:
        """A number that is kept for whoever sets it."""

    @trace_mask.setter
    def trace_mask(self, mask: int) -> None: ...

    def may_administer(self, credentials: str, connection: Sequence[tuple[str, str]]) -> bool | None:
        """Whether `SCHEME DATA` of an Authorization header, with what the connection is by itself, has every right on
        the root; None if it proves nothing.
        """
