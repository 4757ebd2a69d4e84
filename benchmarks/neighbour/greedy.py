"""The greedy client, a process of its own: `python -m neighbour.greedy SCENARIO PORT SECONDS SCALE [AUTHORITY]`.

It prepares and says so, waits for the word `go`, strikes until its seconds are over, once at least, and says what came
of it: sums of what was counted, the longest of what was timed.
"""

from __future__ import annotations

import resource
import sys
import time

from coordserver.core.model.errors import WireError
from druidroles.lifeline import follow_parent
from neighbour.greed.attack import Attack, Figures, Target
from neighbour.scenarios import SCENARIOS
from neighbour.speaking import say, wait_for_word


def main() -> None:
    """As the module says."""
    name, port, seconds, scale, *authority = sys.argv[1:]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    target = Target(int(port), float(scale), hold_s=min(4.0, float(seconds) / 2))
    attack = SCENARIOS[name].attack(target, *authority)
    say(event="prepared", figures=attack.prepare())
    if wait_for_word() == "go":
        say(event="done", figures=_strike(attack, float(seconds)))


def _strike(attack: Attack, seconds: float) -> Figures:
    until = time.monotonic() + seconds
    total: Figures = {"strikes": 0}
    while not total["strikes"] or time.monotonic() < until:
        began = time.monotonic()
        try:
            figures = attack.strike()
        except (OSError, WireError, ValueError) as fault:
            figures = {"fault": str(fault) or type(fault).__name__}
        figures.setdefault("longest strike_s", round(time.monotonic() - began, 2))
        total["strikes"] += 1
        _gather(total, figures)
        if "fault" in figures:
            break
    return total


def _gather(total: Figures, figures: Figures) -> None:
    for name, value in figures.items():
        if isinstance(value, str):
            total[name] = value
        elif name.endswith("_s"):
            total[name] = max(total.get(name, 0.0), value)
        else:
            total[name] = total.get(name, 0) + value


if __name__ == "__main__":
    follow_parent()
    main()
