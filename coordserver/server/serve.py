"""One server, from a data directory to a stopped process.

    serve
     ├ data directory locked, port bound, state recovered          each failure is one clear line
     └ services      log and commit, poller, ticker, snapshots
        └ accepting  cancelled first

A graceful stop goes in this order: accept no more; read no more; let what was proposed become durable, applied and
answered; let peers take their answers, within a deadline; seal the log; write a snapshot; close. Being cancelled
instead is as safe as being killed, which is always safe.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

import trio
from attrs import define, field

from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.core.model.access import Credentials
from coordserver.core.model.limits import EngineLimits
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.server import listener
from coordserver.server.certificates import Certificates
from coordserver.server.clock import Clock, SystemClock
from coordserver.server.descriptors import Descriptors
from coordserver.server.disk_guard import DiskGuard
from coordserver.server.memory_guard import MemoryGuard, share_for_connections
from coordserver.server.pending_bytes import PendingBytes
from coordserver.server.poller import Poller
from coordserver.server.replica import Replica
from coordserver.server.snapshots import Snapshotter
from coordserver.server.status import StartFacts, Status
from coordserver.server.ticker import Ticker, without_collections
from coordserver.storage.async_writes import AsyncWrites
from coordserver.storage.data_dir import open_data_dir
from coordserver.storage.disk import Disk
from coordserver.storage.foreign import require_ours_or_empty
from coordserver.storage.recovery import Recovered, recover
from coordserver.storage.space import SpacePolicy
from coordserver.wire.admin.access import Admin
from coordserver.wire.detect import WireProtocol
from coordserver.wire.jute.connection import JuteConnection
from coordserver.wire.jute.replies import notifications
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.connection import NativeConnection, encoded_events
from coordserver.wire.native.packing import Unpacking
from coordserver.wire.output import Output
from coordserver.wire.port import EVERYTHING, HTTP_ONLY, TLS_ONLY, PortConnection, ServedConnection
from coordserver.wire.sharing import SharedEvents
from coordserver.wire.tls import TlsConnection
from coordserver.wire.traffic import ServerTraffic, Traffic

_log = logging.getLogger(__name__)

PASSWORD_BYTES = 16
CLOSE_S = 30.0
"""How long the log's thread may take to finish and seal the log at the end."""

DRAIN_POLL_S = 0.01
SPARE_CONNECTIONS = 16
"""Connections to `admin_listen` that there may be above the limits: full of others, the server can still be asked."""


@define
class ServerHandle:
    """A running server, as its starter sees it."""

    addresses: tuple[Address, ...]
    _stop: trio.Event = field(factory=trio.Event)

    @property
    def address(self) -> str:
        """HOST:PORT of the first address, with the port really taken."""
        return str(self.addresses[0])

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Begin the graceful stop; `serve` returns when it is done."""
        self._stop.set()

    async def wait_stopping(self) -> None:
        """Return when `stop` was called."""
        await self._stop.wait()


async def serve(  # noqa: ASYNC128 - _Server.run says it
    config: ServerConfig,
    *,
    own_process: bool = False,
    clock: Clock | None = None,
    task_status: trio.TaskStatus[ServerHandle] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run one server until its handle is told to stop. Started once clients are served.

    `own_process`: tune what belongs to the whole process, as garbage collection. Raises ListenError, StorageError; the
    latter in an ExceptionGroup once it serves.
    """
    descriptors = Descriptors.of_process(raised=own_process)
    sockets = listener.bind(config.listen + config.secure_listen + config.admin_listen, config.listen_backlog)
    try:
        require_ours_or_empty(config.data_dir, config.zookeeper_log_dir)
        handle = ServerHandle(tuple(listener.bound_address(sock) for sock in sockets))
        with open_data_dir(config.data_dir) as disk:
            # Before the first other thread, recovery's: it inherits which signals are blocked.
            writes = AsyncWrites.tried(config.data_dir) if own_process else None
            started = time.perf_counter()
            with without_collections() if own_process else nullcontext():
                recovered = await trio.to_thread.run_sync(lambda: recover(disk, segment_bytes=config.segment_bytes))
            took_ms = int((time.perf_counter() - started) * 1000)
            start = StartFacts(took_ms, recovered.next_index - 1 - recovered.snapshot_index)
            try:
                server = _Server(
                    config,
                    disk,
                    recovered,
                    clock or SystemClock(),
                    writes,
                    start,
                    descriptors,
                    own_process=own_process,
                )
                await server.run(sockets, handle, task_status)
            finally:
                recovered.log.close()
    finally:
        listener.close(sockets)


class _Server:
    """The parts of a server, put together, and the order in which they stop."""

    def __init__(
        self,
        config: ServerConfig,
        disk: Disk,
        recovered: Recovered[Machine],
        clock: Clock,
        writes: AsyncWrites | None,
        start: StartFacts,
        descriptors: Descriptors,
        *,
        own_process: bool,
    ) -> None:
        self._config = config
        self._clock = clock
        self._descriptors = descriptors
        self._max_connections = descriptors.connections(config.max_connections)
        self._limits = wire_limits(config)
        self._engine = make_engine(config, recovered.machine, clock)
        self._credentials = Credentials(config.super_digest, config.super_x509, config.enforced_schemes)
        self._certificates = Certificates(config) if config.tls_cert is not None else None
        self._encode_jute_events = SharedEvents(notifications).encode
        self._encode_native_events = SharedEvents(encoded_events).encode
        self._unpack = Unpacking(config.frame_bytes).unpack
        self._traffic = ServerTraffic()
        recovered.log.slow_sync_s = config.fsync_warning_ms / 1000
        self._poller = self._make_poller()
        self._replica = Replica(self._engine, recovered.log, self._poller.flush, writes)
        self._poller.attend(self._replica.fd, self._replica.collect)
        self._snapshotter = Snapshotter(
            disk,
            recovered.machine,
            self._replica,
            last_index=recovered.snapshot_index,
            every=config.snapshot_every,
            kept=config.snapshots_kept,
        )
        self._space = DiskGuard(
            disk,
            recovered.log,
            self._engine,
            self._replica,
            self._snapshotter,
            SpacePolicy(config.segment_bytes, config.reserve_bytes),
        )
        self._memory = MemoryGuard(self._engine, config.memory_bytes)
        self._ticker = Ticker(self._engine, self._poller, clock, self._check_deadlines, own_process=own_process)
        self._status = Status(
            config,
            self._engine,
            recovered.log,
            disk,
            self._poller,
            self._ticker,
            self._snapshotter,
            self._space,
            self._memory,
            clock,
            self._traffic,
            self._credentials,
            start,
            self._max_connections,
        )
        self._admin = Admin(
            self._status,
            config.fourletter_words,
            commands=config.has_admin_commands,
            hosts=_names(config),
            local=config.local,
        )

    def _make_poller(self) -> Poller:
        config = self._config
        return Poller(
            self._connect,
            lambda: self._replica.turn(),
            lambda: self._replica.kick(),
            self._clock,
            PendingBytes(self._engine, config.outstanding_total_bytes),
            output_soft=self._limits.output_soft_bytes,
            output_hard=self._limits.output_hard_bytes,
            output_total=config.output_total_bytes or share_for_connections(4 * config.output_bytes),
            input_total=config.input_total_bytes
            or share_for_connections(4 * max(config.frame_bytes, config.jute_frame_bytes)),
        )

    async def run(
        self, sockets: list[socket.socket], handle: ServerHandle, task_status: trio.TaskStatus[ServerHandle]
    ) -> None:
        """Serve until the stop, then stop."""
        try:
            async with trio.open_nursery() as services:
                services.start_soon(self._replica.run)
                services.start_soon(self._poller.run)
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._ticker.run, self._config.container_check_ms / 1000)
                    accepting.start_soon(self._snapshotter.run)
                    accepting.start_soon(self._space.run)
                    accepting.start_soon(self._memory.run)
                    self._engine.open(self._clock.now_ms())
                    for sock, speaks in zip(sockets, self._spoken(), strict=True):
                        add = partial(self._poller.add, speaks=speaks)
                        room = partial(self._has_room, spare=SPARE_CONNECTIONS if speaks is HTTP_ONLY else 0)
                        accepting.start_soon(listener.accept, sock, add, room)
                    self._status.open_at(handle.addresses)
                    task_status.started(handle)
                    await handle.wait_stopping()
                    accepting.cancel_scope.cancel(reason="stopping")
                listener.close(sockets)
                await self._stop()
                services.cancel_scope.cancel(reason="stopped")
        finally:
            self._poller.close()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await self._replica.stop()

    async def _stop(self) -> None:
        """Finish what was begun. Ticks are over: no session expires while clients cannot reach us."""
        self._status.serving = False
        self._poller.stop_reading()
        with trio.move_on_after(self._config.stop_ms / 1000) as scope:
            await self._replica.drained()
            while self._poller.unsent():  # noqa: ASYNC110 - peers take their answers in their own time
                await trio.sleep(DRAIN_POLL_S)
        if scope.cancelled_caught:
            _log.warning("stopping with %d connections that have not read their answers", self._poller.unsent())
        if self._snapshotter.last_index != self._replica.applied_index:
            await self._snapshotter.take(hurried=True)

    def _spoken(self) -> list[frozenset[WireProtocol]]:
        """What is spoken on each of the listening sockets, in their order."""
        config = self._config
        kinds = ((config.listen, EVERYTHING), (config.secure_listen, TLS_ONLY), (config.admin_listen, HTTP_ONLY))
        return [speaks for addresses, speaks in kinds for _ in addresses]

    def _connect(self, output: Output, host: str, speaks: frozenset[WireProtocol]) -> PortConnection:
        traffic = Traffic(self._traffic)
        self._traffic.plain(host, 1)
        make_tls = None
        certificates = self._certificates
        if certificates is not None:

            def make_tls(out: Output) -> TlsConnection:
                self._traffic.plain(host, -1)
                return TlsConnection(
                    out, certificates.context, lambda inner, who: self._port(inner, host, traffic, who)
                )

        return self._port(output, host, traffic, make_tls=make_tls, speaks=speaks)

    def _port(
        self,
        output: Output,
        host: str,
        traffic: Traffic,
        subject: str = "",
        make_tls: Callable[[Output], TlsConnection] | None = None,
        speaks: frozenset[WireProtocol] = EVERYTHING,
    ) -> PortConnection:
        identities = self._credentials.connection(host, subject)

        def native(out: Output) -> ServedConnection:
            return NativeConnection(
                self._engine,
                out,
                self._limits,
                identities,
                traffic,
                credentials=self._credentials,
                unpack=self._unpack,
                encode_events=self._encode_native_events,
            )

        def jute(out: Output) -> ServedConnection:
            return JuteConnection(
                self._engine,
                out,
                self._limits,
                identities,
                traffic,
                credentials=self._credentials,
                encode_events=self._encode_jute_events,
            )

        makers = {WireProtocol.NATIVE: native, WireProtocol.JUTE: jute}
        return PortConnection(
            output, makers, self._admin, make_tls, identities=identities, traffic=traffic, speaks=speaks
        )

    def _has_room(self, host: str, descriptor: int, *, spare: int) -> bool:
        """Whether a connection may stay. `spare`: how many more than the limits there may be with it."""
        of_host = self._config.max_connections_per_address
        if (
            len(self._poller) < self._max_connections + spare
            and self._descriptors.leaves_enough(descriptor)
            and (not of_host or self._poller.of_host(host) < of_host + spare)
        ):
            return True
        self._traffic.rejected += 1
        return False

    def _check_deadlines(self, now_ms: int) -> None:
        self._replica.tick()
        if self._certificates is not None:
            self._certificates.refresh()
        self._poller.check_deadlines(now_ms, self._config.handshake_ms, self._config.stall_ms)


def _names(config: ServerConfig) -> frozenset[str]:
    """By what names this server may be called."""
    addresses = config.listen + config.secure_listen + config.admin_listen
    return frozenset(name.lower() for name in (socket.gethostname(), *(address.host for address in addresses)))


def wire_limits(config: ServerConfig) -> WireLimits:
    """The limits that connections keep."""
    return WireLimits(
        frame_bytes=config.frame_bytes,
        jute_frame_bytes=config.jute_frame_bytes,
        outstanding=config.outstanding,
        outstanding_bytes=config.outstanding_bytes,
        znode_bytes=config.znode_bytes,
        output_soft_bytes=min(WireLimits().output_soft_bytes, config.output_bytes),
        output_hard_bytes=config.output_bytes,
    )


def make_engine(config: ServerConfig, machine: Machine, clock: Clock) -> Engine:
    """The engine over a recovered machine. A resumed session may bring the requests of two connections."""
    low, high = config.timeout_bounds_ms
    limits = EngineLimits(
        session_timeout_ms_min=low,
        session_timeout_ms_max=high,
        sessions=config.sessions,
        outstanding_per_session=2 * config.outstanding + 1,
        outstanding_writes=config.outstanding_writes,
        ephemerals_per_session=config.ephemerals_per_session,
        watches_per_session=config.watches_per_session,
        multi_operations=config.multi_operations,
        children_per_reply=config.children_per_reply,
        reply_bytes=config.output_bytes,
        znode_bytes=config.znode_bytes,
        acl_entries=config.acl_entries,
        acl_bytes=config.acl_bytes,
        container_check_ms=config.container_check_ms,
        container_never_used_ms=config.container_never_used_ms,
        container_per_check=config.container_per_check,
        enforce_quota=config.enforce_quota,
        x509=config.tls_ca is not None,
    )
    return Engine(
        machine,
        limits,
        new_password=lambda: os.urandom(PASSWORD_BYTES),
        session_id_seed=session_id_seed(clock.wall_ms()),
    )


def session_id_seed(wall_ms: int) -> int:
    """Where session ids begin, as SessionTrackerImpl.initializeNextSessionId has it for server 1: they rise by 65,536
    a millisecond, so a later start does not meet the ids of an earlier one."""
    return (1 << 56) | (((wall_ms << 24) & (2**64 - 1)) >> 8)
