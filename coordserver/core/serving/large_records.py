"""A record with a large effect, taken in slices between which sockets are served.

Closing a session may delete ten thousand ephemerals, a delete_tree as many znodes. They are deleted ahead, some at a
time, under the zxid that the record will have; the machine then applies the record, for which next to nothing is left;
then the watches fire and their hearers are told, in slices too. What comes of it is what applying the record at once
would have come to. Until all of it is done the state is half of one zxid and half of the next, so nothing else is
applied, no read is answered and no snapshot begins.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator

from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.serving.pipeline import Attachment
from coordserver.core.serving.watches import Notice, WatchManager, joined
from coordserver.core.state.machine import Machine, Outcome, PartialEffect
from coordserver.core.state.mutations import Change
from coordserver.core.state.subtree import STEPS, delete_ephemerals, delete_tree

_CLOSE_SESSION = int(Op.CLOSE_SESSION)
_DELETE_TREE = int(Op.DELETE_TREE)


def is_large(machine: Machine, record: Record) -> bool:
    """Whether the effect of a record is worth slicing: only the state can tell."""
    session = machine.sessions.get(record.session)
    if session is None or record.number in session.outcomes or 0 < record.number < session.acked:
        return False
    if record.op == _CLOSE_SESSION:
        return len(machine.tree.ephemerals.get(record.session, ())) > STEPS
    return record.op == _DELETE_TREE


def in_slices(
    machine: Machine, watches: WatchManager[Attachment], record: Record, done: Callable[[Outcome], None]
) -> Iterator[None]:
    """Apply the next record, tell those who watch, call `done` with what came of it. Each step is a slice."""
    begun = yield from _begin(machine, record)
    outcome = machine.apply(machine.index + 1, record, begun)
    heard: dict[Attachment, list[tuple[Notice, ...]]] = {}
    for start in range(0, len(outcome.events), STEPS):
        for hearer, notices in watches.fire(outcome.events[start : start + STEPS]).items():
            heard.setdefault(hearer, []).append(notices)
        yield
    for hearer, notices in joined(heard):
        if not hearer.closed:
            hearer.sink.events(outcome.zxid, notices)
        yield
    done(outcome)


def _begin(machine: Machine, record: Record) -> Generator[None, None, PartialEffect]:
    """Delete what the record deletes, a slice a step."""
    change = Change(machine.zxid + 1, record.wall_ms, record.session, record.identities)
    closes = record.op == _CLOSE_SESSION
    try:
        if closes:
            result = yield from delete_ephemerals(machine.tree, change)
        else:
            result = yield from delete_tree(machine.tree, change, record.arguments)
    except Exception as failure:  # noqa: BLE001 - apply raises it, and knows what to make of it
        return PartialEffect(change, closes, failure=failure)
    return PartialEffect(change, closes, result)
