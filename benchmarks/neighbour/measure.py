"""One scenario, from the start of its processes to its row of figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import trio

from neighbour.processes import READY_S, Child, ChildError
from neighbour.scenarios import SCENARIOS
from neighbour.stages import Theatre, theatre

PREPARE_S = 60.0
SETTLE_S = 1.0
"""After the greedy client's last strike: who waits then waits for its sake."""
ANSWER_S = 20.0
MEMORY_MAX_MB = 8_000
"""A server that holds more is killed, for the machine's sake."""

GOAL_P99_9_MS = 50.0
GOAL_LONGEST_MS = 250.0
_SAMPLE_S = 0.05
_BROKEN_PROMISES = frozenset({"wrong", "stalls"})
"""Figures of the greedy client: it did not get what it may expect. To be slow or cut off is its own part."""

Row = dict[str, Any]
Report = Callable[[str, float], None]


@attrs.frozen
class Extent:
    """How long the greedy client goes on, what it may take at most, and the scale of its counts."""

    seconds: float = 8.0
    bound_s: float = 60.0
    scale: float = 1.0


async def measure(name: str, extent: Extent, report: Report) -> Row:
    """Run a scenario. Raises ChildError if its processes cannot be started."""
    scenario = SCENARIOS[name]
    report(name, 0.0)
    with tempfile.TemporaryDirectory(prefix="coord-neighbour-") as directory:
        async with theatre(scenario, Path(directory)) as stage:
            arguments = (name, str(stage.port), str(extent.seconds), str(extent.scale), *stage.authority)
            greedy = await stage.start("greedy", "neighbour.greedy", *arguments)
            prepared = await greedy.event("prepared", PREPARE_S)
            polite = await stage.start("polite", stage.polite_module, str(stage.port), directory)
            await polite.event("ready", READY_S)
            figures = await _side_by_side(stage, greedy, polite, extent, lambda part: report(name, part))
    report(name, 1.0)
    return {"scenario": name, "about": scenario.about, "prepared": prepared["figures"], **figures}


async def _side_by_side(
    stage: Theatre, greedy: Child, polite: Child, extent: Extent, report: Callable[[float], None]
) -> Row:
    victim = stage.victim
    await polite.say("go")
    await trio.sleep(SETTLE_S)
    before, starved = victim.rss_mb(), victim.starved_ms()
    victim.clear_peak()
    await greedy.say("go")
    began = trio.current_time()
    done: dict[str, Any] = {"figures": {"fault": f"not done within {extent.bound_s:g} s"}}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, victim, began, extent, report)
        with trio.move_on_after(extent.bound_s):
            try:
                done = await greedy.event("done", extent.bound_s)
            except ChildError as fault:
                done = {"figures": {"fault": str(fault)}}
        await greedy.kill()
        await trio.sleep(SETTLE_S)
        nursery.cancel_scope.cancel(reason="the strikes are over")
    taken = trio.current_time() - began
    after, peak = victim.rss_mb(), victim.rss_mb("VmHWM")
    starved_ms = victim.starved_ms() - starved
    await polite.say("stop")
    waits = await polite.event("waits", ANSWER_S)
    return {
        "waits": waits,
        "goal": _reached(waits) and not victim.ended and not _BROKEN_PROMISES.intersection(done["figures"]),
        "victim": victim.name,
        "victim_ended": victim.last_words() if victim.ended else None,
        "rss_before_mb": before,
        "rss_peak_mb": peak,
        "rss_after_mb": after,
        "victim_starved_ms": round(starved_ms),
        "greedy": done["figures"],
        "seconds": round(taken, 1),
    }


async def _watch(victim: Child, began: float, extent: Extent, report: Callable[[float], None]) -> None:
    """Tell how far it is, and keep the machine alive."""
    while True:
        await trio.sleep(_SAMPLE_S)
        report(min(1.0, (trio.current_time() - began) / max(extent.seconds, _SAMPLE_S)))
        if victim.rss_mb() > MEMORY_MAX_MB:
            await victim.kill()


def _reached(waits: Row) -> bool:
    if waits["lost_sessions"] or waits["unanswered"] or not waits["requests"]:
        return False
    return bool(waits["p99_9_ms"] <= GOAL_P99_9_MS and waits["longest_ms"] <= GOAL_LONGEST_MS)


def table_row(row: Row) -> Row:
    """The figures that people compare."""
    waits = row["waits"]
    return {
        "greedy client": row["scenario"],
        "p50 ms": waits.get("p50_ms"),
        "p99 ms": waits.get("p99_ms"),
        "p99.9 ms": waits.get("p99_9_ms"),
        "longest ms": waits.get("longest_ms"),
        "goal": "yes" if row["goal"] else "no",
        "lost": waits["lost_sessions"],
        "unanswered": waits["unanswered"],
        "late p99.9 / longest ms": _two(waits["late"]),
        "disk p99.9 / longest ms": _two(waits["disk"]),
        "starved ms": row["victim_starved_ms"],
        "RSS MB before / peak / after": f"{row['rss_before_mb']} / {row['rss_peak_mb']} / {row['rss_after_mb']}",
        "what came of it": _remarks(row),
    }


def _two(figures: Row) -> str:
    return f"{figures['p99_9_ms']} / {figures['longest_ms']}" if figures else "-"


def _remarks(row: Row) -> str:
    figures = {**row["prepared"], **row["greedy"]}
    if row["victim_ended"] is not None:
        figures["ENDED"] = row["victim_ended"]
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in figures.items()
    )
