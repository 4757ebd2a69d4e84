"""The replicated state machine: commands in, outcomes out, and nothing else moves it.

apply is deterministic: the same records in the same order give the same state on every machine and at every replay. It
reads no clock (time is in the record) and iterates only insertion-ordered dicts. Each command either takes effect whole
or is answered with an error; both use a zxid. What has no zxid: NOOP, CONFIGURE, RESUME_SESSION, and a write sent
again, which is answered from its session's memory. Should a command fail in a way nobody foresaw, the state stays as it
was and the answer is SYSTEM_ERROR: one bad record must not stop every server that replays it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import attrs

from coordserver.core.model import errors
from coordserver.core.model.errors import ErrorCode, KeeperError
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state import mutations, snapshot
from coordserver.core.state.change_observer import ChangeObserver
from coordserver.core.state.mutations import MUTATIONS, Change, Event
from coordserver.core.state.reads import READS, get_ephemerals
from coordserver.core.state.ring import EventRing
from coordserver.core.state.sessions import Remembered, Session
from coordserver.core.state.subtree import delete_ephemerals, delete_tree, run_through
from coordserver.core.state.tree import DataTree, run_undo

_new = tuple.__new__
_SYSTEM_ERROR = int(ErrorCode.SYSTEM_ERROR)
_RUNTIME_INCONSISTENCY = int(ErrorCode.RUNTIME_INCONSISTENCY)
_MULTI = int(Op.MULTI)
_ERROR = int(Op.ERROR)
_CLOSE_SESSION = int(Op.CLOSE_SESSION)
_WITHOUT_ZXID = frozenset({int(Op.NOOP), int(Op.RESUME_SESSION), int(Op.CONFIGURE)})


class Outcome(NamedTuple):
    """What a command came to. `zxid` is its own, or the state's where it took none; `error` 0 is success.

    `result` are the reply's fields (docs/protocol.md), `events` what happened to znodes, in order.
    """

    zxid: int
    error: int
    result: tuple[Any, ...]
    detail: str
    events: tuple[Event, ...]
    duplicate: bool


@attrs.frozen
class MachineStatistics:
    """Counters of the state, at one instant."""

    index: int
    zxid: int
    znodes: int
    data_bytes: int
    ephemerals: int
    reapable: int
    sessions: int
    ring_events: int
    ring_floor: int
    system_errors: int


class PartialEffect(NamedTuple):
    """What was made of a record's effect before it is applied (slices.py), or why nothing was."""

    change: Change
    closes: bool
    result: tuple[Any, ...] = ()
    failure: Exception | None = None


class Machine:
    """Tree, sessions and event ring at one index of the log."""

    def __init__(self, history_id: bytes, tree: DataTree) -> None:
        self.history_id = history_id
        self.tree = tree
        self.sessions: dict[int, Session] = {}
        self.ring = EventRing()
        self.index = 0
        self.zxid = 0
        self.system_errors = 0
        self.remembered_bytes = 0
        self.walks = 0
        self.walk: ChangeObserver | None = None

    @classmethod
    def new(cls, history_id: bytes) -> Machine:
        """The state before the first record. `history_id`: 16 random bytes that name this history."""
        return cls(history_id, DataTree.with_system_nodes())

    def apply(self, index: int, record: Record, begun: PartialEffect | None = None) -> Outcome:
        """Apply the record at `index`, which must be the next one, and say what came of it.

        `begun`: what of it was done ahead.
        """
        if index != self.index + 1:
            raise ValueError(f"record {index} does not follow {self.index}")
        self.index = index
        op, session_id, number, acked, wall_ms, identities, arguments = record
        session = self.sessions.get(session_id)
        if self.walk is not None and session is not None:
            self.walk.changing_session(session)
        if number and session is not None:
            known = session.outcomes.get(number)
            if known is not None:
                return Outcome(*known, (), True)
            if number < session.acked:
                return Outcome(self.zxid, int(ErrorCode.BAD_ARGUMENTS), (), "number was acknowledged", (), True)
            if acked > session.acked:
                before = session.weight
                session.forget_below(acked)
                self.remembered_bytes += session.weight - before
        zxid = self.zxid if op in _WITHOUT_ZXID else self.zxid + 1
        self.zxid = zxid
        change = Change(zxid, wall_ms, session_id, identities) if begun is None else begun.change
        undo = change.undo
        error = 0
        detail = ""
        result: tuple[Any, ...]
        try:
            if session_id and session is None and op != Op.CREATE_SESSION:
                raise errors.SessionExpiredError
            mutation = MUTATIONS.get(op)
            if mutation is not None:
                result = mutation(self.tree, change, arguments)
            else:
                result = _OTHERS[op](self, change, arguments) if begun is None else _finish(self, begun)
        except KeeperError as refusal:
            error, result, detail = int(refusal.code), (), refusal.detail
            if undo:
                _take_back(change)
        except Exception as failure:  # noqa: BLE001 - the boundary at which one bad record is kept from every server
            error, result, detail = _SYSTEM_ERROR, (), type(failure).__name__
            self.system_errors += 1
            _take_back(change)
            self.tree.recount()
        events: tuple[Event, ...] = ()
        if change.events:
            events = tuple(change.events)
            self.ring.append(zxid, events)
        if number and session is not None and op != _CLOSE_SESSION:
            before = session.weight
            session.remember(number, _new(Remembered, (zxid, error, result, detail)))
            self.remembered_bytes += session.weight - before
        return _new(Outcome, (zxid, error, result, detail, events, False))

    def read(
        self, op: int, arguments: tuple[Any, ...], identities: tuple[tuple[str, str], ...], session: int = 0
    ) -> tuple[Any, ...]:
        """Answer a read from the state as it is. Raises KeeperError."""
        if op == Op.GET_EPHEMERALS:
            return get_ephemerals(self.tree, arguments, session)
        return READS[op](self.tree, arguments, identities)

    def snapshot_rows(self) -> Iterator[tuple[Any, ...]]:
        """The exact state as rows of plain values (snapshot.py). The state must not change meanwhile."""
        return chain(
            self.head_rows(),
            snapshot.tree_rows(self.tree),
            snapshot.session_rows(self.sessions.values()),
            snapshot.ring_rows(self.ring.entries()),
        )

    def head_rows(self) -> Iterator[tuple[Any, ...]]:
        """The first of them: numbers and settings."""
        yield snapshot.header(self.history_id, self.index, self.zxid, self.ring.floor, self.system_errors)
        if self.tree.quotas.enforced:
            yield ("settings", True)

    @classmethod
    def from_snapshot(cls, rows: Iterable[tuple[Any, ...]]) -> Machine:
        """The state that `snapshot_rows` told. Raises StorageError where the rows are none or of a newer format."""
        iterator = iter(rows)
        first = next(iterator, ())
        snapshot.check_header(first)
        machine = cls(bytes(first[2]), DataTree())
        machine.index, machine.zxid, machine.ring.floor, machine.system_errors = first[3:7]
        for kind, some in groupby(iterator, itemgetter(0)):
            machine._restore(kind, some)
        return machine

    def _restore(self, kind: str, rows: Iterator[tuple[Any, ...]]) -> None:
        if kind == "znode":
            snapshot.add_znodes(self.tree, rows)
            return
        for row in rows:
            if kind == "settings":
                self.tree.quotas.enforced = row[1]
            elif kind == "session":
                self.sessions[row[1]] = snapshot.session_of(row)
            elif kind == "outcome":
                self.remembered_bytes += snapshot.add_outcome(self.sessions, row)
            elif kind == "ring":
                snapshot.add_ring(self.ring, row)
            elif kind == "events":
                snapshot.add_events(self.ring, row)
            else:
                raise errors.StorageError(f"a snapshot row of an unknown kind: {kind!r}")

    def digest(self) -> int:
        """64 bits that are equal for equal states, whichever version of this software has them. O(n)."""
        return snapshot.digest_of(self._digested_rows())

    def _digested_rows(self) -> Iterator[tuple[Any, ...]]:
        head, *settings = self.head_rows()
        yield snapshot.digested_header(head)
        yield from settings
        yield from snapshot.tree_rows(self.tree)
        yield from snapshot.session_rows(self.sessions.values())
        yield from map(snapshot.digested_events, self.ring.entries())

    def statistics(self) -> MachineStatistics:
        """Counters, all of them kept, none computed over the tree."""
        return MachineStatistics(
            index=self.index,
            zxid=self.zxid,
            znodes=len(self.tree.nodes),
            data_bytes=self.tree.data_bytes,
            ephemerals=sum(len(owned) for owned in self.tree.ephemerals.values()),
            reapable=len(self.tree.reapable),
            sessions=len(self.sessions),
            ring_events=len(self.ring),
            ring_floor=self.ring.floor,
            system_errors=self.system_errors,
        )

    def check_invariants(self) -> None:
        """Raise AssertionError where the state contradicts itself. O(n); for tests and `coord check`."""
        self.tree.check_invariants()
        for owner in self.tree.ephemerals:
            if owner not in self.sessions:
                raise AssertionError(f"ephemerals of session {owner:#x}, which is not there")
        for session in self.sessions.values():
            if any(number > session.last_number for number in session.outcomes):
                raise AssertionError(f"session {session.id:#x} remembers a number above its last")
        if self.remembered_bytes != sum(session.weight for session in self.sessions.values()):
            raise AssertionError("remembered_bytes differ")


def _take_back(change: Change) -> None:
    """A command failed after it changed something: it changed nothing."""
    run_undo(change.undo)
    change.events.clear()


def _create_session(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(password, timeout_ms): the record's session begins."""
    password, timeout_ms = arguments
    if change.session in machine.sessions:
        raise errors.NodeExistsError("", "session id in use")
    session = Session(change.session, password, timeout_ms)
    change.undo.append((machine.sessions.pop, change.session, None))
    if machine.walk is not None:
        machine.walk.made_session(session)
    machine.sessions[change.session] = session
    return ()


def _resume_session(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(timeout_ms, attachment): the session has a new connection, perhaps with another timeout."""
    session = machine.sessions[change.session]
    timeout_ms, attachment = arguments
    change.undo.append((_undo_resume, session, session.timeout_ms, session.attachment))
    session.timeout_ms = timeout_ms
    session.attachment = attachment
    return ()


def _undo_resume(session: Session, timeout_ms: int, attachment: int) -> None:
    session.timeout_ms, session.attachment = timeout_ms, attachment


def _close_session(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(): the session ends, and its ephemerals with it."""
    run_through(delete_ephemerals(machine.tree, change))
    _end_session(machine, change)
    return ()


def _delete_tree(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """(path, limit) -> (deleted, finished): a part of a subtree goes."""
    return run_through(delete_tree(machine.tree, change, arguments))


def _finish(machine: Machine, begun: PartialEffect) -> tuple[Any, ...]:
    """What is left of a record whose znodes were deleted ahead."""
    if begun.failure is not None:
        raise begun.failure
    if begun.closes:
        _end_session(machine, begun.change)
    return begun.result


def _end_session(machine: Machine, change: Change) -> None:
    session = machine.sessions[change.session]
    before = (machine.remembered_bytes, session.weight, session.outcomes)
    change.undo.append((_undo_end_session, machine, session, *before))
    machine.remembered_bytes -= session.weight
    session.weight = 0
    session.outcomes = {}
    del machine.sessions[change.session]


def _undo_end_session(
    machine: Machine, session: Session, remembered_bytes: int, weight: int, outcomes: dict[int, Remembered]
) -> None:
    machine.remembered_bytes = remembered_bytes
    session.weight = weight
    session.outcomes = outcomes
    machine.sessions[session.id] = session


def _noop(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(): nothing; a place in the log."""
    return ()


def _configure(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(enforce_quota,): a setting that apply depends on, which must be the same wherever the log is replayed."""
    quotas = machine.tree.quotas
    change.undo.append((setattr, quotas, "enforced", quotas.enforced))
    (quotas.enforced,) = arguments
    return ()


def _refused(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[()]:
    """(code,): what was asked was refused before it could be decided."""
    raise errors.from_code(arguments[0])


def _multi(machine: Machine, change: Change, arguments: tuple[Any, ...]) -> tuple[tuple[tuple[Any, ...], ...]]:
    """(((op, arguments), ...),) -> (results,): all or nothing. A failure is told in the results.

    Results are those of org.apache.zookeeper.MultiResponse: in a failed multi 0 for what came before the failure, its
    code, and RUNTIME_INCONSISTENCY for what came after. Only limits of a quota that cannot be read fail the whole.
    """
    operations = arguments[0]
    results: list[tuple[Any, ...]] = []
    for op, sub_arguments in operations:
        try:
            if op == _ERROR:
                raise errors.from_code(sub_arguments[0])
            results.append((0, *mutations.IN_MULTI[op](machine.tree, change, sub_arguments)))
        except KeeperError as refusal:
            _take_back(change)
            if isinstance(refusal, errors.MarshallingError):
                raise
            failed_at = len(results)
            after = len(operations) - failed_at - 1
            return (((0,),) * failed_at + ((int(refusal.code),),) + ((_RUNTIME_INCONSISTENCY,),) * after,)
    return (tuple(results),)


_OTHERS: dict[int, Callable[[Machine, Change, tuple[Any, ...]], tuple[Any, ...]]] = {
    int(Op.CREATE_SESSION): _create_session,
    int(Op.RESUME_SESSION): _resume_session,
    int(Op.CLOSE_SESSION): _close_session,
    int(Op.DELETE_TREE): _delete_tree,
    int(Op.NOOP): _noop,
    int(Op.CONFIGURE): _configure,
    _ERROR: _refused,
    _MULTI: _multi,
}
