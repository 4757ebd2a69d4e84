"""A server that tells what a test wants told, to four-letter words and HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from attrs import define, field

from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts, SnapshotFacts, WatchSummary

SECOND_MS = 1_700_000_000_000


@define
class FakeDownload:
    """Implements `wire.admin.monitoring.SnapshotDownload`. It takes two looks until it is there."""

    zxid: int
    taken: bytes
    looks: int = 0
    closed: bool = False

    @property
    def done(self) -> bool:
        self.looks += 1
        return self.looks > 2

    @property
    def size(self) -> int:
        return len(self.taken)

    def read(self, offset: int, length: int) -> bytes:
        return self.taken[offset : offset + length]

    def close(self) -> None:
        self.closed = True


@define
class FakeServerView:
    """Implements `wire.admin.monitoring.ServerView`.

    `resets` records what was reset, `credentials` decides who may change something.
    """

    told: ServerFacts = field(factory=lambda: ServerFacts(version="3.9.0-x", serving=True, zxid=0x1F, znodes=7))
    links: Sequence[ConnectionFacts] = ()
    sessions: Mapping[int, int] = field(factory=dict)
    owned: Mapping[int, Sequence[str]] = field(factory=dict)
    watched: Mapping[str, Sequence[int]] = field(factory=dict)
    credentials: Mapping[str, bool] = field(factory=dict)
    snapshot: SnapshotFacts | None = None
    trace_mask: int = 306
    resets: list[str] = field(factory=list)
    zxid_taken: int = 0x1F
    bytes_taken: bytes = b"a snapshot"

    @property
    def serving(self) -> bool:
        return self.told.serving

    def facts(self) -> ServerFacts:
        return self.told

    def connections(self) -> Iterator[ConnectionFacts]:
        return iter(self.links)

    def expiries(self) -> Iterator[tuple[int, int]]:
        return iter(self.sessions.items())

    def ephemeral_owners(self) -> Sequence[int]:
        return tuple(self.owned)

    def ephemerals_of(self, session_id: int) -> Sequence[str]:
        return self.owned[session_id]

    def watch_summary(self) -> WatchSummary:
        return WatchSummary(1, len(self.watched), sum(map(len, self.watched.values())))

    def watches_by_session(self) -> Iterator[tuple[int, Sequence[str]]]:
        sessions = dict.fromkeys(one for held in self.watched.values() for one in held)
        return ((one, [path for path, held in self.watched.items() if one in held]) for one in sessions)

    def watches_by_path(self) -> Iterator[tuple[str, Sequence[int]]]:
        return iter(self.watched.items())

    def configuration(self) -> Mapping[str, str | int]:
        return {"clientPort": 2181, "dataDir": "/d"}

    def environment(self) -> Mapping[str, str]:
        return {"zookeeper.version": self.told.version}

    def properties(self) -> Mapping[str, str | int]:
        return {"tick_time_ms": 2_000}

    def directory_bytes(self) -> tuple[int, int]:
        return 10, 20

    def last_snapshot(self) -> SnapshotFacts | None:
        return self.snapshot

    def take_snapshot(self, woken: Callable[[], None]) -> FakeDownload:
        self.resets.append("snapshot")
        return FakeDownload(self.zxid_taken, self.bytes_taken)

    def reset_connections(self) -> None:
        self.resets.append("connections")

    def reset_server(self) -> None:
        self.resets.append("server")

    def may_administer(self, credentials: str, connection: Sequence[tuple[str, str]]) -> bool | None:
        return self.credentials.get(credentials)
