"""The whole server but its threads and sockets, under a scheduler that a seed decides.

Real are: the wire (bytes, cut anywhere), the engine, the machine, the log, snapshots and recovery. Simulated are: time,
the network, the disk (MemoryDisk, which loses and tears what was not synced), and who comes next. Faults: connections
break, messages stay unread, the disk fails in the middle of an append or of a snapshot, the process is killed, the
power goes; then the server recovers and the clients resume and send again.

At the end faults cease, every client is answered, and the judge replays the log of commands on a naive twin of the tree
and holds everything that any client was ever told against it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from random import Random
from typing import Any

from sim_client import NaiveClient, Notes
from tree_twin import Twin

from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.serving.engine import Engine
from coordserver.core.state.machine import Machine
from coordserver.core.state.snapshot import Row, RowDigest, digest_of
from coordserver.core.state.walk import StateWalk
from coordserver.storage import SnapshotWriter, StorageError, recover_state, retain
from coordserver.storage.txnlog import TxnLog
from coordserver.testing.memory_disk import MemoryDisk
from coordserver.wire.limits import WireLimits
from coordserver.wire.native.connection import NativeConnection
from coordserver.wire.output import Output

SEGMENT_BYTES = 2_000
STEPS = 1_500
SETTLE_STEPS = 3_000
_TAKES_NO_ZXID = (int(Op.NOOP), int(Op.RESUME_SESSION))


class Simulation:
    """One run. `run` raises AssertionError with what went wrong."""

    def __init__(self, seed: int, *, clients: int = 4) -> None:
        self.random = Random(seed)
        self.disk = MemoryDisk(self.random)
        self.history: list[Record] = []
        self.now = 1_000
        self.lives = 0
        self.snapshots = 0
        self.clients = [NaiveClient(f"c{n}", self.random) for n in range(clients)]
        self._connections: dict[NaiveClient, NativeConnection] = {}
        self._zombies: list[tuple[NativeConnection, bytes]] = []
        self._told_index = 0
        self._snapshot: tuple[StateWalk, Iterator[Row], SnapshotWriter, RowDigest, int] | None = None
        self._start()

    def run(self) -> None:
        """Live through it, settle, judge."""
        steps = (
            *((self._client_acts,) * 8 + (self._server_reads,) * 8 + (self._client_reads,) * 8),
            *((self._log_writes,) * 6 + (self._engine_applies,) * 6 + (self._time_passes,) * 3),
            *(
                (self._client_connects,) * 3
                + (self._zombie_speaks,)
                + (self._connection_breaks, self._snapshot_goes_on, self._snapshot_goes_on)
            ),
        )
        for _ in range(STEPS):
            if self.random.random() < 0.005:
                self._crash()
            else:
                self.random.choice(steps)()
        self._settle()
        self._judge()

    # -- the server -------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self.lives += 1
        recovered = recover_state(self.disk, Machine, segment_bytes=SEGMENT_BYTES, entropy=self.random.randbytes)
        self.machine: Machine = recovered.machine
        self.log: TxnLog = recovered.log
        assert self.machine.index >= self._told_index, "a record was lost that a client knows of"
        assert self.machine.index <= len(self.history), "a record appeared that nobody wrote"
        del self.history[self.machine.index :]
        self._durable = self.machine.index
        self.machine.check_invariants()
        self.engine = Engine(
            self.machine,
            EngineLimits(session_timeout_ms_min=100),
            new_password=lambda: self.random.randbytes(16),
            session_id_seed=self.lives * 10_000,
        )
        self.engine.open(self.now)

    def _crash(self) -> None:
        """The process is killed, or the power goes; perhaps again during recovery."""
        for client in self.clients:
            self._disconnect(client, tell=False)
        self._zombies.clear()
        self._snapshot = None
        while True:
            self.random.choice((self.disk.crash, self.disk.restart))()
            failing = self.random.random() < 0.2
            if failing:
                self.disk.fail_at(self.random.randrange(1, 20), repeat=self.random.random() < 0.5)
            try:
                self._start()
            except StorageError as refusal:
                if failing:
                    continue
                raise AssertionError("recovery refused what a crash left") from refusal
            self.disk.heal()
            return

    def _log_writes(self) -> None:
        records = self.engine.take_proposals()
        first = len(self.history) + 1
        self.history += records
        if self.random.random() < 0.03:
            self.disk.fail_at(self.random.randrange(1, 3), repeat=self.random.random() < 0.5)
        try:
            if records:
                self.log.append(records, first)
            elif self.random.random() < 0.3:
                self.log.seal()
        except StorageError:
            self._crash()
            return
        self.disk.heal()
        self._durable = len(self.history)

    def _engine_applies(self) -> None:
        self.engine.committed_slice(self._durable, self.random.choice((1, 5, 100)))
        self._told_index = self.machine.index  # from here on a client may know of it

    def _snapshot_goes_on(self) -> None:
        """A snapshot is read and written in pieces, between which everything else goes on."""
        if self.random.random() < 0.1:
            self.disk.fail_at(self.random.randrange(1, 4))
        try:
            self._snapshot_step()
        except StorageError:
            if self._snapshot is not None:
                self._snapshot[0].close()
            self._snapshot = None
        self.disk.heal()

    def _snapshot_step(self) -> None:
        if self._snapshot is None:
            writer = SnapshotWriter(self.disk, self.machine.index, self.machine.history_id, salt=lambda: b"saltsalt")
            walk = StateWalk(self.machine)
            while walk.gather(7):
                pass
            self._snapshot = walk, walk.rows(), writer, RowDigest(), digest_of(self.machine.snapshot_rows())
            return
        walk, rows, writer, digest, expected = self._snapshot
        size = self.random.randrange(1, 30)
        piece = list(islice(rows, size))
        digest.update(piece)
        writer.add(piece)
        if len(piece) < size:
            self._snapshot = None
            walk.close()
            assert digest.value() == expected, "a snapshot is not the state at its index"
            self.snapshots += 1
            writer.finish()
            retain(self.disk, 2)

    def _time_passes(self) -> None:
        self.now += self.random.choice((1, 10, 50, 300))
        self.engine.tick(self.now, 10**12 + self.now)

    # -- the network ------------------------------------------------------------------------------------------------

    def _client_acts(self) -> None:
        self.random.choice(self.clients).act()

    def _client_connects(self) -> None:
        client = self.random.choice([c for c in self.clients if not c.connected] or self.clients)
        if not client.connected:
            self._disconnect(client)
            client.connect()
            output = Output(lambda: None, soft=1 << 20, hard=1 << 24)
            self._connections[client] = NativeConnection(self.engine, output, WireLimits())

    def _connection_breaks(self) -> None:
        self._disconnect(self.random.choice(self.clients))

    def _disconnect(self, client: NaiveClient, *, tell: bool = True) -> None:
        connection = self._connections.pop(client, None)
        if connection is not None and tell:
            if self.random.random() < 0.3:
                self._zombies.append((connection, bytes(client.outgoing)))
            else:
                connection.lost(self.now)
        if client.connected:
            client.disconnected()

    def _zombie_speaks(self) -> None:
        """The rest of what was sent on a connection whose end the server has not noticed, and then the end."""
        if self._zombies:
            connection, rest = self._zombies.pop(0)
            while connection.wants_input and connection.holds_input:
                connection.resume(self.now, 10**12 + self.now)
            if connection.wants_input:
                connection.receive(rest[: self._some(len(rest) + 1)], self.now, 10**12 + self.now)
            connection.lost(self.now)

    def _server_reads(self, client: NaiveClient | None = None) -> None:
        if client is None:
            client = self.random.choice(list(self._connections) or self.clients)
        connection = self._connections.get(client)
        if connection is None:
            return
        if connection.wants_input and client.outgoing:
            size = self._some(len(client.outgoing))
            data = bytes(client.outgoing[:size])
            del client.outgoing[:size]
            connection.receive(data, self.now, 10**12 + self.now)
        elif connection.holds_input and connection.wants_input:
            connection.resume(self.now, 10**12 + self.now)

    def _client_reads(self, client: NaiveClient | None = None) -> None:
        if client is None:
            client = self.random.choice(list(self._connections) or self.clients)
        connection = self._connections.get(client)
        if connection is None:
            return
        pending = connection.output.pending
        if pending:
            size = self._some(len(pending))
            data = bytes(pending[:size])
            del pending[:size]
            client.receive(data)
        if not client.connected or (connection.output.finished and not pending):
            self._disconnect(client)

    def _some(self, length: int) -> int:
        return length if self.random.random() < 0.7 else self.random.randrange(1, length + 1)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """No more faults: everybody connects and is answered."""
        for _ in range(SETTLE_STEPS):
            if all(client.session and client.welcomed and client.idle for client in self.clients):
                return
            for client in self.clients:
                if not client.connected:
                    self._client_connects()
                self._server_reads(client)
                self._client_reads(client)
            if self.random.random() < 0.5:
                self._log_writes_well()
                self._engine_applies()
        raise AssertionError("the clients were never all answered")

    def _log_writes_well(self) -> None:
        records = self.engine.take_proposals()
        if records:
            self.log.append(records, len(self.history) + 1)
            self.history += records
        self._durable = len(self.history)

    def _judge(self) -> None:
        while self.engine.committed_slice(self._durable, 1_000):
            pass
        self.machine.check_invariants()
        Judge(self.history, [notes for client in self.clients for notes in client.notes.items()]).judge(self.machine)


class Judge:
    """Replays the commands on a naive tree, each number once, and compares."""

    def __init__(self, history: list[Record], told: list[tuple[int, Notes]]) -> None:
        self._history = history
        self._told = told
        self._twin = Twin()
        self._writes: dict[tuple[int, int], tuple[int, int, Any]] = {}
        self._events: dict[int, list[tuple[int, str]]] = {}
        self._reads: dict[int, list[tuple[Any, ...]]] = {}

    def judge(self, machine: Machine) -> None:
        """Raise AssertionError where anything differs."""
        for _, notes in self._told:
            for zxid, *read in notes.reads:
                self._reads.setdefault(zxid, []).append(tuple(read))
        self._check_reads()
        for record in self._history:
            self._replay(record)
        assert machine.zxid == self._twin.zxid, "zxids are not dense"
        assert {path: tuple(node.stat()) for path, node in machine.tree.nodes.items()} == {
            path: self._twin.stat(path) for path in self._twin.nodes
        }, "the trees differ"
        assert {path: node.data for path, node in machine.tree.nodes.items()} == {
            path: node.data for path, node in self._twin.nodes.items()
        }, "the data differ"
        assert set(machine.sessions) == self._twin.sessions, "the sessions differ"
        for session, notes in self._told:
            for number, answer in notes.writes.items():
                assert self._writes.get((session, number)) == answer, "an answered write is not in the log so"
            order = [self._writes[session, number][0] for number in sorted(notes.writes)]
            assert order == sorted(order), "a session's writes took effect in another order"
            self._check_stream(notes)

    def _replay(self, record: Record) -> None:
        key = record.session, record.number
        if record.number and key in self._writes and record.session in self._twin.sessions:
            return  # sent again
        who = tuple(map(tuple, record.identities))
        arguments = record.arguments
        if record.op == Op.MULTI:
            arguments = (tuple((op, *rest) for op, rest in arguments[0]),)
        logged = record.op not in _TAKES_NO_ZXID
        code, result, events = self._twin.run(record.op, record.session, record.wall_ms, who, arguments, logged=logged)
        if record.number:
            self._writes.setdefault(key, (self._twin.zxid, code, result))
        if events:
            self._events[self._twin.zxid] = events
        if logged:
            self._check_reads()

    def _check_reads(self) -> None:
        """Every read at this zxid must have seen just this state."""
        for op, (path, _), error, fields in self._reads.pop(self._twin.zxid, ()):
            node = self._twin.nodes.get(path)
            if node is None:
                assert error == -101, f"a read saw {path}, which was not there"
                continue
            want: Any = self._twin.stat(path), None
            if op == Op.GET_DATA:
                want = self._twin.stat(path), node.data
            elif op == Op.GET_CHILDREN2:
                want = self._twin.stat(path), self._twin.children(path)
            got = fields[-1], sorted(fields[0]) if op == Op.GET_CHILDREN2 else fields[0] if op == Op.GET_DATA else None
            assert (error, got) == (0, want), "a read saw another state than that of its zxid"

    def _check_stream(self, notes: Notes) -> None:
        """Each event once, in order, and before any reply that shows it."""
        armed: int | None = None
        seen = 0
        for what, zxid, *events in notes.stream:
            if what == "armed":
                armed = seen = zxid
            elif armed is None:
                continue
            elif what == "events":
                assert [tuple(event) for event in events[0]] == self._events.get(zxid), "an event that never happened"
                self._nothing_between(seen, zxid - 1)
                seen = zxid
            elif zxid > seen:
                self._nothing_between(seen, zxid)
                seen = zxid

    def _nothing_between(self, seen: int, zxid: int) -> None:
        missed = [at for at in range(seen + 1, zxid + 1) if at in self._events]
        assert not missed, f"the events of {missed} did not come before {zxid} was shown"
