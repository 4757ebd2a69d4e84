"""What the server tells of itself, gathered from its parts when asked (wire/facts.py says what each answer is)."""

from __future__ import annotations

import getpass
import os
import platform
import resource
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import attrs
from attrs import define, field

from coordserver import VERSION
from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.config.setting import setting_of
from coordserver.core.model.access import Credentials, allowed
from coordserver.core.model.acl import ALL, Identity
from coordserver.core.model.paths import ROOT
from coordserver.core.serving.engine import Engine
from coordserver.server.channel import Channel
from coordserver.server.clock import Clock
from coordserver.server.descriptors import open_files
from coordserver.server.disk_guard import DiskGuard
from coordserver.server.download import Download
from coordserver.server.memory_guard import MemoryGuard
from coordserver.server.poller import Poller
from coordserver.server.snapshots import Snapshotter
from coordserver.server.ticker import Ticker
from coordserver.storage.disk import Disk
from coordserver.storage.layout import LOG, SNAPSHOT
from coordserver.storage.txnlog import TxnLog
from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts, SnapshotFacts, WatchSummary
from coordserver.wire.traffic import ServerTraffic

ZOOKEEPER_VERSION = "3.9.0"
"""The ZooKeeper whose behaviour this server has; tools read it out of what follows."""

_BUILT = "11/26/2026 00:00 UTC"
"""The day of VERSION, as ZooKeeper wrote it up to 3.6: the Go client takes `srvr` for ill without a date like this."""

_TOLD_VERSION = f"{ZOOKEEPER_VERSION}-coordserver-{VERSION}, built on {_BUILT}"
_READ_OR_WRITE = 0b101
"""Of epoll's bits those for reading and writing; they are the ones of Java's SelectionKey too."""

_ALL_PERMISSIONS = tuple(1 << bit for bit in range(ALL.bit_length()))
_MASK = "******"


class StartFacts(NamedTuple):
    """How long recovery took, and how many records of log it applied."""

    ms: int
    records: int


@define
class Status:
    """Implements `wire.admin.monitoring.ServerView`.

    `serving` is true from the opening of the port until the stop begins. `addresses` and `secure` are the addresses
    that were bound.
    """

    config: ServerConfig
    engine: Engine
    log: TxnLog
    disk: Disk
    poller: Poller
    ticker: Ticker
    snapshotter: Snapshotter
    space: DiskGuard
    memory: MemoryGuard
    clock: Clock
    traffic: ServerTraffic
    credentials: Credentials
    start: StartFacts
    max_connections: int
    serving: bool = False
    addresses: tuple[Address, ...] = ()
    secure: tuple[Address, ...] = ()
    _opened_ms: int = field(init=False, default=0)

    def open_at(self, addresses: tuple[Address, ...]) -> None:
        """Clients are served on these addresses from now on, in the order of the settings."""
        plain, secure = len(self.config.listen), len(self.config.secure_listen)
        self.addresses, self.secure = addresses[:plain], addresses[plain : plain + secure]
        self._opened_ms = self.clock.now_ms()
        self.serving = True

    # -- counts -----------------------------------------------------------------------------------------------------

    def facts(self) -> ServerFacts:
        """Counts of this moment. They go over connections and sessions, not over the tree or the watches."""
        state = self.engine.machine.statistics()
        engine = self.engine.statistics()
        counts, handshakes = self._open_counts()
        received, answered, notified = self.traffic.totals(counts)
        return ServerFacts(
            version=_TOLD_VERSION,
            serving=self.serving,
            zxid=state.zxid,
            znodes=state.znodes,
            watches=engine.watches,
            ephemerals=state.ephemerals,
            data_bytes=state.data_bytes,
            sessions=state.sessions,
            connections=len(self.poller),
            outstanding=engine.outstanding,
            outstanding_bytes=self.poller.pending_bytes.outstanding_bytes,
            received=received,
            answered=answered,
            notified=notified,
            latency=self.traffic.latency,
            bytes_received=self.poller.bytes_received,
            connections_accepted=self.poller.accepted,
            connections_rejected=self.traffic.rejected,
            connections_cut_off=self.poller.cut_off,
            connections_cut_for_memory=self.poller.cut_for_memory,
            connections_max=self.max_connections,
            connections_left=self.poller.left,
            handshakes_late=self.poller.handshakes_late,
            handshakes_failed=self.poller.handshakes_failed,
            watchers_told=self.engine.watches.told,
            output_bytes=self.poller.memory.output.total,
            input_bytes=self.poller.memory.input.total,
            tls_handshakes=handshakes,
            sessions_expired=engine.expired,
            auth_failed=self.traffic.auth_failed,
            requests_too_large=self.traffic.too_large,
            requests_refused=engine.refused,
            **self._traffic_facts(),
            **self._log_facts(),
            start_ms=self.start.ms,
            start_records=self.start.records,
            snapshot_min_ms=int(self.snapshotter.min_s * 1e3),
            snapshots=self.snapshotter.taken,
            snapshot_total_ms=int(self.snapshotter.total_s * 1e3),
            snapshot_max_ms=int(self.snapshotter.max_s * 1e3),
            open_files=open_files(),
            open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            uptime_ms=self.clock.now_ms() - self._opened_ms,
            loop_late_max_ms=self.ticker.late_ms_max,
            apply_faults=state.system_errors,
            read_faults=engine.read_errors,
            expiry_faults=engine.expiries_failed,
            refusals=dict(self.engine.refusals),
            disk_fullness=self.space.fullness.value,
            disk_free_bytes=self.space.free_bytes,
            memory_bytes=self.memory.estimated_bytes(),
            memory_limit_bytes=self.memory.limit_bytes,
        )

    def _traffic_facts(self) -> dict[str, int]:
        traffic = self.traffic
        return {
            "connection_requests": traffic.connects,
            "connections_resumed": traffic.resumes,
            "connections_plain_local": traffic.plain_local,
            "connections_plain_remote": traffic.plain_remote,
            "response_bytes": traffic.response_bytes,
            "response_last": traffic.response_last,
            "response_min": traffic.response_least,
            "response_max": traffic.response_most,
            "watch_bytes": traffic.watch_bytes,
        }

    def _log_facts(self) -> dict[str, int]:
        log = self.log.statistics()
        return {
            "batches": log.batches_of_records,
            "batch_records_min": log.batch_records_min,
            "batch_records_max": log.batch_records_max,
            "fsync_min_us": int(log.sync_s_min * 1e6),
            "fsync_last_us": int(log.sync_s_last * 1e6),
            "fsync_max_us": int(log.sync_s_max * 1e6),
            "fsync_total_us": int(log.sync_s_total * 1e6),
            "fsyncs": log.batches,
            "fsyncs_slow": log.syncs_slow,
            "records_logged": log.records,
            "log_bytes": log.bytes_written,
        }

    def _open_counts(self) -> tuple[tuple[int, int, int], int]:
        """(received, answered, notified) by the connections there are, and how many of them shake hands for TLS."""
        received = answered = notified = handshakes = 0
        for channel in self.poller.channels():  # 20,000 of them take 2 ms
            port = channel.port
            traffic = port.traffic
            received += traffic.received
            answered += traffic.answered
            notified += traffic.notified
            if port.wrapping is not None and port.wrapping.shaking_hands:
                handshakes += 1
        return (received, answered, notified), handshakes

    def take_snapshot(self, woken: Callable[[], None]) -> Download:
        """Take a snapshot now, for whoever asks."""

        def answer() -> None:
            woken()
            self.poller.flush()

        download = Download(self.disk, answer)
        self.snapshotter.ask(download.taken)
        return download

    def reset_server(self) -> None:
        """Begin to count the server's traffic anew."""
        self.traffic.reset(self._open_counts()[0])

    def reset_connections(self) -> None:
        """Begin to count each connection anew."""
        for channel in self.poller.channels():
            channel.port.traffic.reset()

    # -- listings ---------------------------------------------------------------------------------------------------

    def connections(self) -> Iterator[ConnectionFacts]:
        """Those that are still open when their turn comes."""
        for channel in self.poller.channels():
            if channel.open:
                yield self._connection(channel)

    def _connection(self, channel: Channel) -> ConnectionFacts:
        port, traffic = channel.port, channel.port.traffic
        now_ms, wall_ms = self.clock.now_ms(), self.clock.wall_ms()
        received, answered, notified = traffic.since_reset()
        latency = traffic.latency
        left = self.engine.expires_in(traffic.session_id, now_ms) if traffic.session_id else None
        if left is None:
            left = channel.opened_ms + self.config.handshake_ms - now_ms
        return ConnectionFacts(
            address=str(channel.peer),
            operations=channel.mask & _READ_OR_WRITE if port.hears else 0,
            secure=port.wrapping is not None,
            queued=traffic.outstanding if traffic.session_id else 0,
            received=received,
            sent=answered + notified,
            session_id=traffic.session_id,
            timeout_ms=traffic.timeout_ms,
            last_operation=traffic.op,
            last_xid=traffic.xid,
            last_zxid=traffic.zxid,
            opened_ms=wall_ms - now_ms + channel.opened_ms,
            answered_ms=channel.progress_ms if answered else 0,
            expires_ms=wall_ms + left,
            latency_last=traffic.last_latency,
            latency_min=latency.least_of(answered),
            latency_avg=latency.average_of(answered),
            latency_max=latency.most,
        )

    def expiries(self) -> Iterator[tuple[int, int]]:
        """(session id, wall time at which it expires unless it is heard of before)."""
        wall_ms = self.clock.wall_ms()
        for session_id, left in self.engine.expiries(self.clock.now_ms()):
            yield session_id, wall_ms + left

    def ephemeral_owners(self) -> Sequence[int]:
        """Ids of the sessions that have ephemerals."""
        return tuple(self.engine.machine.tree.ephemerals)

    def ephemerals_of(self, session_id: int) -> Sequence[str]:
        """Paths of a session's ephemerals."""
        return tuple(self.engine.machine.tree.ephemerals.get(session_id, ()))

    def watch_summary(self) -> WatchSummary:
        """How many watches there are on znodes themselves."""
        return WatchSummary(*self.engine.watches.summary())

    def watches_by_session(self) -> Iterator[tuple[int, Sequence[str]]]:
        """(session id, paths that its connection watches)."""
        for watcher in self.engine.watches.watchers():
            paths = self.engine.watches.watched_by(watcher)
            if paths:
                yield watcher.session_id, paths

    def watches_by_path(self) -> Iterator[tuple[str, Sequence[int]]]:
        """(path, ids of the sessions that watch it)."""
        for path in self.engine.watches.watched():
            watchers = self.engine.watches.watching(path)
            if watchers:
                yield path, [watcher.session_id for watcher in watchers]

    # -- settings and surroundings ----------------------------------------------------------------------------------

    def configuration(self) -> Mapping[str, str | int]:
        """Settings under ZooKeeper's names."""
        config = self.config
        data, log = self.directory_bytes()
        low, high = config.timeout_bounds_ms
        return {
            "clientPort": self.addresses[0].port if self.addresses else -1,
            "secureClientPort": self.secure[0].port if self.secure else -1,
            "dataDir": str(config.data_dir),
            "dataDirSize": data,
            "dataLogDir": str(config.data_dir),
            "dataLogSize": log,
            "tickTime": config.tick_time_ms,
            "maxClientCnxns": config.max_connections_per_address,
            "minSessionTimeout": low,
            "maxSessionTimeout": high,
            "clientPortListenBacklog": config.listen_backlog,
            "serverId": 0,
        }

    def properties(self) -> Mapping[str, str | int]:
        """Every setting under its own name, secrets masked."""
        told: dict[str, str | int] = {}
        for attribute in attrs.fields(ServerConfig):
            value = getattr(self.config, attribute.name)
            if setting_of(attribute).secret and value:
                value = _MASK
            told[attribute.name] = value if type(value) is int else _text(value)
        return told

    def environment(self) -> Mapping[str, str]:
        """What the process runs in: ZooKeeper's keys but for those of Java."""
        return {
            "zookeeper.version": _TOLD_VERSION,
            "host.name": socket.gethostname(),
            "python.version": platform.python_version(),
            "python.implementation": platform.python_implementation(),
            "python.executable": sys.executable,
            "os.name": platform.system(),
            "os.arch": platform.machine(),
            "os.version": platform.release(),
            "user.name": _user(),
            "user.home": os.path.expanduser("~"),
            "user.dir": _working_directory(),
        }

    def directory_bytes(self) -> tuple[int, int]:
        """Bytes of snapshots and of the log; what goes away meanwhile counts nothing."""
        sizes = {SNAPSHOT: 0, LOG: 0}
        try:
            names = self.disk.names()
        except OSError:
            names = []
        for name in names:
            kind = name.partition(".")[0]
            if kind in sizes:
                try:
                    sizes[kind] += self.disk.size(name)
                except OSError:
                    continue
        return sizes[SNAPSHOT], sizes[LOG]

    def last_snapshot(self) -> SnapshotFacts | None:
        """The last that this process wrote."""
        last = self.snapshotter.last
        return None if last is None else SnapshotFacts(*last)

    @property
    def trace_mask(self) -> int:
        """A number that is kept for whoever sets it."""
        return self.traffic.trace_mask

    @trace_mask.setter
    def trace_mask(self, mask: int) -> None:
        self.traffic.trace_mask = mask

    def may_administer(self, credentials: str, connection: Sequence[tuple[str, str]]) -> bool | None:
        """Whether what an Authorization header and the connection prove has every right on the root.

        The header's bytes come as Latin-1 text, whatever they mean; digests are made of bytes.
        """
        scheme, _, data = credentials.strip().partition(" ")
        own = tuple(Identity(*identity) for identity in connection)
        if scheme.lower() == "x509":
            proven: tuple[Identity, ...] | None = tuple(one for one in own if one.scheme == "x509")
        else:
            proven = self.credentials.identities(scheme.lower(), data.strip().encode("latin-1"), own)
        if not proven:
            return None
        acl = self.engine.machine.tree.nodes[ROOT].acl
        identities = (*own, *proven)
        return all(allowed(acl, permission, identities) for permission in _ALL_PERMISSIONS)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
