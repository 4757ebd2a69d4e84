"""`coord shell` as a process: one command, a pipe, exit codes; and its grammar alone."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest
import trio

from cli.shell.grammar import QuitRequested, parse, parse_line
from cli.shell.run import UnreachableError, perform
from coordserver.client import Client, connect
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield handle


async def coord(address: str, *words: str, stdin: bytes = b"") -> tuple[int, str, str]:
    """Run `coord shell`; exit code, standard output, standard error."""
    done = await trio.run_process(
        [sys.executable, "-m", "cli", "shell", "--server", address, *words],
        stdin=stdin,
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("COORD_")},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_one_command_after_the_other(server: ServerHandle) -> None:
    at = server.address
    assert await coord(at, "create", "-p", "/a/b", "grüße") == (0, "/a/b\n", "")
    assert await coord(at, "create", "-s", "/a/s-") == (0, "/a/s-0000000001\n", "")
    assert await coord(at, "get", "/a/b") == (0, "grüße\n", "")
    assert await coord(at, "set", "/a/b", "two", "-v", "0") == (0, "", "")
    code, out, err = await coord(at, "set", "/a/b", "three", "-v", "0")
    assert (code, out, err) == (1, "", "coord shell: BadVersion: /a/b\n")
    code, out, err = await coord(at, "stat", "/a/b", "-o", "json")
    assert (code, err) == (0, "")
    stat = json.loads(out)
    assert (stat["path"], stat["version"], stat["dataLength"], stat["numChildren"]) == ("/a/b", 1, 3, 0)
    code, out, err = await coord(at, "-o", "json", "ls", "-R", "/a")
    assert json.loads(out) == {"path": "/a", "paths": ["/a", "/a/b", "/a/s-0000000001"]}
    assert await coord(at, "delete", "/a") == (1, "", "coord shell: NotEmpty: /a\n")
    assert await coord(at, "deleteall", "/a") == (0, "", "")
    assert await coord(at, "deleteall", "/a") == (1, "", "coord shell: NoNode: /a\n")
    assert await coord(at, "ls") == (0, "zookeeper\n", "")


async def test_bytes_that_are_no_text(server: ServerHandle) -> None:
    at = server.address
    async with connect(at, session_timeout=4) as zk:
        await zk.create("/bin", b"\x00\xff")
        await zk.create("/gz", gzip.compress(b'{"a": 1}'))
    assert (await coord(at, "get", "/bin"))[1] == "base64:AP8=\n"
    assert json.loads((await coord(at, "get", "/bin", "-o", "json"))[1]) == {
        "path": "/bin",
        "data": "AP8=",
        "encoding": "base64",
    }
    assert (await coord(at, "get", "--decode", "/gz"))[1] == '{"a": 1}\n'
    assert (await coord(at, "set", "--base64", "/bin", "AQI="))[0] == 0
    assert (await coord(at, "get", "/bin"))[1] == "base64:AQI=\n"


async def test_a_pipe_stops_at_its_first_error(server: ServerHandle) -> None:
    lines = b"create /a 'two words'\n# a comment\n\nget /a\nquit\ndelete /a\n"
    assert await coord(server.address, stdin=lines) == (0, "/a\ntwo words\n", "")
    code, out, err = await coord(server.address, stdin=b"get /a\nget /nope\nget /a")
    assert (code, out, err) == (1, "two words\n", "coord shell: NoNode: /nope\n")
    code, out, err = await coord(server.address, stdin=b"get /a\nget\nget /a")
    assert (code, out, err) == (2, "two words\n", "coord shell: Missing argument 'PATH'.\n")


async def test_watch_prints_events_until_its_count_or_ctrl_c(server: ServerHandle) -> None:
    async with connect(server.address, session_timeout=4) as zk:
        for count, ending in (("2", 0), ("0", 130)):
            words = ["shell", "--server", server.address, "watch", "-r", "/w", "--count", count, "-o", "json"]
            process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "cli", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            assert process.stdout is not None
            assert process.stderr is not None
            assert await process.stderr.receive_some() == b"watching /w\n"
            await zk.create("/w")
            await zk.delete("/w")
            text = b""
            while text.count(b"\n") < 2:
                chunk = await process.stdout.receive_some()
                assert chunk, (text, await process.stderr.receive_some())
                text += chunk
            if count == "0":
                process.send_signal(signal.SIGINT)
            assert await process.wait() == ending
            events = [json.loads(line) for line in text.splitlines()]
            assert [(event["kind"], event["path"]) for event in events] == [("created", "/w"), ("deleted", "/w")]
            assert events[0]["zxid"] < events[1]["zxid"]
            await process.stdout.aclose()
            await process.stderr.aclose()


async def test_no_server_is_exit_code_3() -> None:
    code, out, err = await coord("127.0.0.1:1", "ls")
    assert (code, out) == (3, "")
    assert err == "coord shell: no session at 127.0.0.1:1 within 2 s; last: 127.0.0.1:1: Connection refused\n"


async def test_a_server_that_goes_away_is_given_up(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()

    async def get(zk: Client) -> None:
        handle.stop()
        await trio.sleep(0.2)
        await zk.get("/")

    async with embedded_server(tmp_path / "server") as handle, connect(handle.address, session_timeout=4) as zk:
        with pytest.raises(UnreachableError):
            await perform(zk, get, patience_s=0.3)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["frob"], "No such command"),
        (["get"], "Missing argument"),
        (["get", "a"], "does not begin with a slash"),
        (["get", "/a", "-z"], "No such option"),
        (["set", "/a"], "Missing argument 'DATA'"),
        (["set", "/a", "--base64", "%"], "not base64"),
        (["create", "/a", "-e", "-c"], "cannot be all of these"),
        (["deleteall", "/"], "the root"),
        (["help", "frob"], "No such command"),
    ],
)
def test_what_is_wrong_with_a_command_is_told_before_anything_is_connected(words: list[str], why: str) -> None:
    with pytest.raises(click.ClickException) as caught:
        parse(words, "text")
    assert why in caught.value.format_message()


def test_lines_are_read_as_a_shell_reads_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse_line("", "text") is None
    assert parse_line("  # nothing", "text") is None
    assert callable(parse_line("set /a 'b c'", "text"))
    with pytest.raises(click.UsageError, match="quotation"):
        parse_line("set /a 'b", "text")
    for word in ("quit", "exit"):
        with pytest.raises(QuitRequested):
            parse_line(word, "text")
    assert parse_line("help", "text") is None
    assert parse_line("help get", "text") is None
    assert parse_line("get --help", "text") is None
    out = capsys.readouterr().out
    assert "deleteall" in out
    assert out.count("Show the data of a znode.") == 3
