"""`coord bench latency`: its statistics, and a short run against a server and against one of its own."""

from __future__ import annotations

import json
import os
import sys
from array import array
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from cli.bench.statistics import Samples, percentile
from coordserver.client import connect
from coordserver.testing.embedded import embedded_server


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_the_least_value_that_enough_values_do_not_exceed(values: list[float], percent: float) -> None:
    ordered = sorted(values)
    found = percentile(ordered, percent)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= len(ordered) * percent / 100 - 1e-6
    below = [value for value in ordered if value < found]
    assert not below or len(below) < len(ordered) * percent / 100 + 1e-6


def test_a_summary() -> None:
    samples = Samples("get", 2, array("d", [n / 1e6 for n in range(1, 1001)]), wall_s=0.5)
    summary = samples.summary().as_json()
    assert summary == {
        "operation": "get",
        "clients": 2,
        "count": 1000,
        "rate": 2000.0,
        "p50_us": 500.0,
        "p90_us": 900.0,
        "p99_us": 990.0,
        "p99_9_us": 999.0,
        "max_us": 1000.0,
    }
    with pytest.raises(ValueError, match="at least one value"):
        percentile([], 50)


async def run(*words: str) -> tuple[int, str, str]:
    done = await trio.run_process(
        [sys.executable, *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COORD_")},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


OPERATIONS = ["get", "set", "create", "delete", "watch"]


async def test_against_a_running_server(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as server:
        words = ["bench", "latency", "--server", server.address, "--seconds", "0.2", "--clients", "2", "-o", "json"]
        code, out, err = await run("-m", "cli", *words)
        assert code == 0, err
        shown = json.loads(out)
        assert (shown["server"], shown["clients"]) == (server.address, 2)
        assert [result["operation"] for result in shown["results"]] == OPERATIONS
        for result in shown["results"]:
            assert result["count"] > 0
            assert 0 < result["p50_us"] <= result["p99_us"] <= result["max_us"]
        async with connect(server.address, session_timeout=4) as zk:
            assert await zk.children("/") == ["zookeeper"]  # it cleans up


async def test_against_a_server_of_its_own() -> None:
    code, out, err = await run("-m", "cli", "bench", "latency", "--seconds", "0.05")
    assert code == 0, err
    assert all(operation in out for operation in OPERATIONS)
    assert "measuring get" in err


async def test_no_server_is_one_line() -> None:
    code, out, err = await run("-m", "cli", "bench", "latency", "--server", "127.0.0.1:1:2")
    assert (code, out) == (2, "")
    assert "not HOST:PORT" in err.splitlines()[-1]


async def test_the_script_prints_json_lines_and_a_table() -> None:
    script = str(Path(__file__).parents[2] / "benchmarks" / "latency.py")
    code, out, err = await run(script, "--seconds", "0.05", "--pipelined", "1,8")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [(row["operation"], row["tasks"]) for row in rows] == [
        (operation, tasks) for tasks in (1, 8) for operation in ("get", "set", "create")
    ]
    assert "Pipelined" in err
