"""Random histories to a real ZooKeeper and to ours: no reply, event or znode differs but as is known.

The subset of the default tests; `make test-long` runs thousands, from a seed of its own.
"""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path

import pytest
from differential.compare import explain, renamed, run_both, shrink
from differential.histories import PROFILES, make

FIXED = range(1, 46)
"""Always the same, so that a failure stays one; each profile has several of them."""

NEW = 25
"""Histories of this commit's own."""


def commit_seed() -> int:
    """A number that changes with the commit; without git always the same."""
    command = ["git", "rev-parse", "--short=7", "HEAD"]
    found = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return int(found.stdout.strip() or "1000000", 16)


def differing(seeds: range, real: int, ours: int) -> str:
    """What the first differing history came down to; empty if none differs."""
    names = itertools.count(2 * 10**9 + seeds.start)
    for seed in seeds:
        found = run_both(make(seed), real, ours)
        if found is None:
            continue
        small = shrink(make(seed), lambda candidate: run_both(renamed(candidate, next(names)), real, ours) is not None)
        steps = "\n".join(f"  {step.what} {step.who} {step.arguments}" for step in small.steps[4:])
        return f"seed {seed} ({small.profile})\n{steps}\n{explain(found)}"
    return ""


@pytest.mark.timeout(300)
def test_histories_that_are_always_the_same(peers: tuple[int, int]) -> None:
    assert {make(seed).profile for seed in FIXED} == set(PROFILES)
    found = differing(FIXED, *peers)
    assert not found, found


@pytest.mark.timeout(300)
def test_histories_of_this_commit(peers: tuple[int, int]) -> None:
    first = commit_seed()
    print(f"histories from seed {first}")
    found = differing(range(first, first + NEW), *peers)
    assert not found, found
