"""A state made of entries: for an import into a data directory that no server runs on."""

from __future__ import annotations

from collections.abc import Iterable

from cli.running import CommandFailedError
from cli.snapshot.entries import Entry
from coordserver.core import paths
from coordserver.core.acl import Identity
from coordserver.core.machine import Machine, Outcome
from coordserver.core.operations import Op
from coordserver.core.records import Record

_SUPER = (Identity("super", ""),)
_NO_HISTORY = bytes(16)


def build(entries: Iterable[Entry], wall_ms: int) -> Machine:
    """A tree of these znodes, ephemerals left out. Raises CommandFailedError where one cannot be there."""
    state = Machine.new(_NO_HISTORY)
    for entry in entries:
        if entry.owner:
            continue
        there = state.tree.nodes.get(entry.path)
        if there is not None:
            if there.data != entry.data:
                _apply(state, wall_ms, entry.path, Op.SET_DATA, entry.data, -1)
            if there.acl != entry.acl:
                _apply(state, wall_ms, entry.path, Op.SET_ACL, entry.acl, -1)
        else:
            arguments = (entry.data, entry.acl, int(entry.mode), entry.ttl_ms)
            _apply(state, wall_ms, entry.path, Op.CREATE, *arguments)
    return state


def _apply(state: Machine, wall_ms: int, path: str, op: Op, *arguments: object) -> Outcome:
    outcome = state.apply(state.index + 1, Record(int(op), 0, 0, 0, wall_ms, _SUPER, (path, *arguments)))
    if outcome.error:
        parent = paths.parent_of(path)
        why = f"{parent} is not there" if parent not in state.tree.nodes else f"error {outcome.error} {outcome.detail}"
        raise CommandFailedError(f"{path}: cannot be made: {why}")
    return outcome
