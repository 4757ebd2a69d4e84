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
        if entry.path in state.tree.nodes:
            _apply(state, wall_ms, entry.path, Op.SET_DATA, entry.data, -1)
            _apply(state, wall_ms, entry.path, Op.SET_ACL, entry.acl, -1)
        else:
            arguments = (entry.data, entry.acl, int(entry.mode), entry.ttl_ms)
            _apply(state, wall_ms, entry.path, Op.CREATE, *arguments)
    return state


def _apply(state: Machine, wall_ms: int, path: str, op: Op, *arguments: object) -> Outcome:
    outcome = state.apply(state.index + 1, Record(int(op), 0, 0, 0, wall_ms, _SUPER, (path, *arguments)))
    if outcome.error:
        missing = (
            f" (is {paths.parent_of(path)} in the export?)" if paths.parent_of(path) not in state.tree.nodes else ""
        )
        raise CommandFailedError(f"{path}: cannot be made: error {outcome.error} {outcome.detail}{missing}")
    return outcome
