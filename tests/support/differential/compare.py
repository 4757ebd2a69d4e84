"""Compare two runs, and cut a history that shows a difference down to the steps that it takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op
from coordserver.core.model.paths import QUOTA
from differential.histories import History, Step
from differential.run import Observation, Runner

Difference = tuple[int, Observation, Observation]


def difference(real: list[Observation], ours: list[Observation]) -> Difference | None:
    """The first observation that differs, with its number; None where all are equal or differ as is known."""
    for number, (theirs, mine) in enumerate(zip(real, ours, strict=True)):
        if theirs != mine and not _known(theirs, mine):
            return number, theirs, mine
    return None


def _known(real: Observation, ours: Observation) -> bool:
    """Differences between ZooKeeper 3.8.0, which is asked, and 3.9, which we follow (docs/compatibility.md)."""
    if real[0] == "tree" or real[0].what not in ("request", "pipeline", "raw") or real[2] != ours[2]:
        return False
    if len(real[1]) != len(ours[1]):
        return False
    return all(
        theirs == mine or _exists_without_read(op, theirs, mine) or _check_watches(op, theirs, mine)
        for op, theirs, mine in zip(_operations(real[0], len(real[1])), real[1], ours[1], strict=True)
    )


def _operations(step: Step, answers: int) -> list[int]:
    """What was asked, for each of the answers; of bytes as they are, what their header says."""
    if step.what == "raw":
        return [int.from_bytes(step.arguments[0][8:12], "big", signed=True)] * answers
    requests = [step.arguments] if step.what == "request" else step.arguments
    return [op for op, _ in requests]


def _exists_without_read(op: int, real: Any, ours: Any) -> bool:
    """Since 3.9.2 exists needs READ."""
    return op == Op.EXISTS and real[2] == 0 and ours[2] == ErrorCode.NO_AUTH and real[:2] == ours[:2]


def _check_watches(op: int, real: Any, ours: Any) -> bool:
    """3.8 finds the watch of any connection on the path, and stumbles over one without a slash; 3.9 does neither."""
    if op != Op.CHECK_WATCHES or ours[2] != ErrorCode.NO_WATCHER or real[:2] != ours[:2]:
        return False
    return real[2] in (0, ErrorCode.MARSHALLING_ERROR)


def run_both(history: History, real_port: int, our_port: int) -> Difference | None:
    """Run a history on both servers."""
    return difference(Runner(real_port, history).run(), Runner(our_port, history).run())


def shrink(history: History, differs: Callable[[History], bool]) -> History:
    """Fewer steps that still differ. A seed is used up by a run (its znodes stay), so each try gets one of its own."""
    steps = list(history.steps)
    size = max(1, len(steps) // 2)
    while size >= 1:
        at = 4  # the connects and the root stay
        while at < len(steps):
            candidate = history._replace(steps=tuple(steps[:at] + steps[at + size :]))
            if differs(candidate):
                steps = list(candidate.steps)
            else:
                at += size
        size //= 2
    return history._replace(steps=tuple(steps))


def renamed(history: History, seed: int) -> History:
    """The same history under another root."""
    old, new = f"/h{history.seed}", f"/h{seed}"

    def move(value: Any) -> Any:
        if isinstance(value, str):
            above = QUOTA if value.startswith(QUOTA + old) else ""
            path = value[len(above) :]
            return above + new + path[len(old) :] if path == old or path.startswith(old + "/") else value
        if isinstance(value, bytes):
            return value  # a malformed request: its path stays, which no znode of another run can have made legal
        if isinstance(value, tuple) and not hasattr(value, "_fields"):
            return tuple(move(part) for part in value)
        if hasattr(value, "_fields"):
            return type(value)(*(move(part) for part in value))
        return value

    return History(seed, history.profile, tuple(move(step) for step in history.steps))


def explain(found: Difference) -> str:
    """A difference for people."""
    number, real, ours = found
    return f"step {number}: {real[0]}\n  ZooKeeper: {real[1:]}\n  ours:      {ours[1:]}"
