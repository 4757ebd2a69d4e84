"""What the server tells about itself to four-letter words and HTTP, gathered when somebody asks."""

from __future__ import annotations

from attrs import frozen


class Traffic:
    """Requests received, replies and events sent, by all native connections of one server."""

    __slots__ = ("received", "sent")

    def __init__(self) -> None:
        self.received = 0
        self.sent = 0


@frozen(kw_only=True)
class ServerFacts:
    """Counts at one moment. `serving` is False while the server starts or stops."""

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
    received: int = 0
    sent: int = 0
    fsync_last_us: int = 0
    fsync_max_us: int = 0
    fsyncs: int = 0
    records_logged: int = 0
    loop_late_max_ms: int = 0
    apply_faults: int = 0

    def monitored(self) -> list[tuple[str, int]]:
        """The numbers under ZooKeeper's names (`mntr`) where they mean the same, ours after them."""
        return [
            ("znode_count", self.znodes),
            ("watch_count", self.watches),
            ("ephemerals_count", self.ephemerals),
            ("approximate_data_size", self.data_bytes),
            ("num_alive_connections", self.connections),
            ("outstanding_requests", self.outstanding),
            ("global_sessions", self.sessions),
            ("packets_received", self.received),
            ("packets_sent", self.sent),
            ("fsyncs", self.fsyncs),
            ("fsync_last_us", self.fsync_last_us),
            ("fsync_max_us", self.fsync_max_us),
            ("records_logged", self.records_logged),
            ("loop_late_max_ms", self.loop_late_max_ms),
            ("apply_faults", self.apply_faults),
        ]
