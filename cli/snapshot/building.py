"""A new state from entries, for an import into the data directory of a stopped server."""

from __future__ import annotations

from collections.abc import Iterable

from cli.running import CommandFailedError
from cli.snapshot.entries import Entry
from coordserver.core.model import paths
from coordserver.core.model.acl import Identity
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine, Outcome

_SUPER = (Identity("super", ""),)
_NO_HISTORY = bytes(16)


def build(entries: Iterable[Entry], wall_ms: int) -> Machine:
    """Build a state with the znodes of `entries`, without ephemerals. `wall_ms` is the time of their creation.

    Raises CommandFailedError if a znode cannot be created.
    """
    state = Machine.new(_NO_HISTORY)
    for entry in entries:
        if entry.owner:
            continue
        existing = state.tree.nodes.get(entry.path)
        if existing is not None:
            if existing.data != entry.data:
                _apply(state, wall_ms, entry.path, Op.SET_DATA, entry.data, -1)
            if existing.acl != entry.acl:
                _apply(state, wall_ms, entry.path, Op.SET_ACL, entry.acl, -1)
        else:
            arguments = (entry.data, entry.acl, int(entry.mode), entry.ttl_ms)
            _apply(state, wall_ms, entry.path, Op.CREATE, *arguments)
    return state


def _apply(state: Machine, wall_ms: int, path: str, op: Op, *arguments: object) -> Outcome:
    outcome = state.apply(state.index + 1, Record(int(op), 0, 0, 0, wall_ms, _SUPER, (path, *arguments)))
    if outcome.error:
        parent = paths.parent_of(path)
        is_orphan = parent not in state.tree.nodes
        reason = f"{parent} does not exist" if is_orphan else f"error {outcome.error} {outcome.detail}"
        raise CommandFailedError(f"{path}: cannot be created: {reason}")
    return outcome
