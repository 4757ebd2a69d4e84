"""The server, its clients and their faults, from a seed; see tests/support/server_simulation.py.

SIM_SEEDS=5000 python -m pytest tests/simulation             more of them
SIM_SEED=1234 python -m pytest tests/simulation              one again
"""

from __future__ import annotations

import os

import pytest
from server_simulation import Simulation

SEEDS = int(os.environ.get("SIM_SEEDS", "300"))
CHUNK = 25


def chunks() -> list[range]:
    """The seeds of each test."""
    one = os.environ.get("SIM_SEED")
    if one is not None:
        return [range(int(one), int(one) + 1)]
    return [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]


@pytest.mark.parametrize("seeds", chunks(), ids=lambda seeds: f"{seeds.start}-{seeds.stop - 1}")
def test_nothing_told_is_lost_or_done_twice_whatever_breaks(seeds: range) -> None:
    for seed in seeds:
        try:
            Simulation(seed).run()
        except BaseException as fault:
            fault.add_note(f"again: SIM_SEED={seed} python -m pytest tests/simulation")
            raise


def test_the_same_seed_is_the_same_run() -> None:
    runs = [Simulation(7), Simulation(7)]
    for run in runs:
        run.run()
    assert runs[0].machine.digest() == runs[1].machine.digest()
    assert runs[0].disk.files() == runs[1].disk.files()


def test_the_runs_are_worth_having() -> None:
    """The faults happen, and between them so does work."""
    runs = [Simulation(seed) for seed in range(20)]
    for run in runs:
        run.run()
    assert sum(run.lives - 1 for run in runs) >= 100
    assert sum(len(run.history) for run in runs) >= 1_000
    assert sum(run.snapshots for run in runs) >= 100
    notes = [notes for run in runs for client in run.clients for notes in client.notes.values()]
    done = [answer for note in notes for answer in note.writes.values()]
    assert len(done) >= 400
    assert sum(error == 0 for _, error, _ in done) >= 200
    assert sum(len(note.reads) for note in notes) >= 150
    assert sum(entry[0] == "events" for note in notes for entry in note.stream) >= 300
    logged = [(record.session, record.number) for run in runs for record in run.history if record.number]
    assert len(logged) - len(set(logged)) >= 100  # written to the log again, done once
