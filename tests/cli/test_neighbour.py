"""`python benchmarks/neighbour`: one small scenario with real processes, so that the benchmark goes on working."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import trio

SCRIPT = str(Path(__file__).parents[2] / "benchmarks" / "neighbour")


async def run(*words: str) -> tuple[int, str, str]:
    done = await trio.run_process(
        [sys.executable, SCRIPT, *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COORD_")},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.real
@pytest.mark.parametrize("scenario", ["six-multis", "silent-broker"])
async def test_a_small_scenario_measures_both_clients(scenario: str) -> None:
    code, out, err = await run("--only", scenario, "--seconds", "0.2", "--scale", "0.01")
    assert code == 0, err
    [row] = [json.loads(line) for line in out.splitlines()]
    assert row["scenario"] == scenario
    assert row["victim_ended"] is None
    waits = row["waits"]
    assert waits["requests"] > 0
    assert 0 < waits["p50_ms"] <= waits["p99_ms"] <= waits["p99_9_ms"] <= waits["longest_ms"]
    assert waits["late"]["longest_ms"] > 0
    assert row["rss_peak_mb"] >= row["rss_before_mb"] > 0
    assert row["greedy"]["strikes"] >= 1
    assert "fault" not in row["greedy"]
    assert f"measuring {scenario}" in err


async def test_an_unknown_scenario_is_one_line() -> None:
    code, out, err = await run("--only", "nothing")
    assert (code, out) == (2, "")
    assert "'nothing' is not one of" in err
