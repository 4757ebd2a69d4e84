"""`coord` itself: where settings come from, and how faults are told."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli import main
from cli.logs import JsonFormatter
from cli.running import CommandFailedError, run

SERVER = [sys.executable, "-m", "cli", "server", "--listen", "127.0.0.1:0"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a command named `server` was told, with a real command's options in its place."""
    told: dict[str, Any] = {}

    @click.command("server")
    @click.option("--listen", default="default")
    def command(listen: str) -> None:
        told["listen"] = listen

    monkeypatch.setattr(main.LazyGroup, "get_command", lambda self, ctx, name: command if name == "server" else None)
    return told


def call(*arguments: str, **environment: str) -> Any:
    """Run `coord` in this process."""
    return CliRunner().invoke(main.root, arguments, env=environment, catch_exceptions=False)


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(asked: dict[str, Any], tmp_path: Path) -> None:
    """The order in which settings are looked for."""
    config = tmp_path / "coord.toml"
    config.write_text('[server]\nlisten = "file"\n')
    call("server")
    assert asked["listen"] == "default"
    call("--config", str(config), "server")
    assert asked["listen"] == "file"
    call("--config", str(config), "server", COORD_SERVER_LISTEN="environment")
    assert asked["listen"] == "environment"
    call("--config", str(config), "server", "--listen", "flag", COORD_SERVER_LISTEN="environment")
    assert asked["listen"] == "flag"


@pytest.mark.parametrize(
    ("text", "named"),
    [("[server]\nfoo = 1", "server.foo"), ("[druid.broker]\nportt = 1", "druid.broker.portt"), ("x = 1", "x")],
)
def test_unknown_keys_of_the_file_are_named(tmp_path: Path, text: str, named: str) -> None:
    """A typo in a configuration file must not pass in silence."""
    config = tmp_path / "coord.toml"
    config.write_text(text)
    result = call("--config", str(config), "server")
    assert result.exit_code == 2
    assert named in result.output


def test_every_command_is_there() -> None:
    """Each listed command can be imported and shows its help."""
    for name in main.COMMANDS:
        assert call(name, "--help").exit_code == 0, name


def test_known_errors_become_one_line_and_others_stay() -> None:
    """Whatever group they come in; a fault of ours keeps its traceback."""

    async def fail(*faults: Exception) -> None:
        raise ExceptionGroup("both", list(faults))

    with pytest.raises(CommandFailedError, match="port in use"):
        run(lambda: fail(OSError("port in use")), OSError)
    with pytest.RaisesGroup(OSError, ZeroDivisionError):
        run(lambda: fail(OSError("port in use"), ZeroDivisionError("ours")), OSError)


def test_json_log_lines() -> None:
    """One object a line, whatever the message holds."""
    record = logging.LogRecord("a.b", logging.WARNING, "f", 1, 'say "%s"\n', ("hi",), None)
    entry = json.loads(JsonFormatter().format(record))
    assert entry["level"] == "warning"
    assert entry["message"] == 'say "hi"\n'
    assert entry["time"].endswith("Z")


def refused(*arguments: str) -> tuple[int, str]:
    """Exit code and stderr of a process that must not start."""
    done = subprocess.run(
        [sys.executable, "-m", "cli", "--log-level", "error", *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_server_says_ready_and_stops_on_sigterm(tmp_path: Path) -> None:
    """And while it runs, nobody else gets its data directory or its port: one clear line each."""
    with subprocess.Popen([*SERVER, "--data-dir", str(tmp_path / "a")], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            ready = server.stdout.readline().split()
            assert ready[:2] == ["READY", "server"]
            code, line = refused("server", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "a"))
            assert (code, line.count("\n")) == (1, 1), line
            assert "held by another server" in line
            code, line = refused("server", "--listen", ready[2], "--data-dir", str(tmp_path / "b"))
            assert (code, line.count("\n")) == (1, 1), line
            assert ready[2] in line
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0
        finally:
            server.kill()


def test_directories_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    """Missing parents, and files in the way."""
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "missing" / "x", tmp_path / "file"):
        for arguments in (
            ("server", "--listen", "127.0.0.1:0"),
            ("druid", "broker", "--coord", "coord://127.0.0.1:1/druid", "--port", "0"),
        ):
            code, line = refused(*arguments, "--data-dir", str(path))
            assert (code, line.count("\n")) == (1, 1), line
            assert str(path) in line


def test_a_server_ends_with_its_parent(tmp_path: Path) -> None:
    """The lifeline: when its write end closes, the child stops."""
    read, write = os.pipe()
    with subprocess.Popen(
        [*SERVER, "--data-dir", str(tmp_path / "a")],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=[read],
        env={**os.environ, "COORD_LIFELINE_FD": str(read)},
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline().startswith("READY")
            os.close(write)
            assert server.wait(timeout=20) == 0
        finally:
            os.close(read)
            server.kill()
