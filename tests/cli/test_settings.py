"""Settings of `coord server`: their documentation, and the files they come from."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from cli import main
from cli.commands import server
from cli.settings_doc import document
from coordserver.config.server import ServerConfig

DOCUMENTED = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_documentation_is_drawn_from_the_settings() -> None:
    """`python -m cli.settings_doc > docs/settings.md` mends it."""
    assert DOCUMENTED.read_text() == document()


def test_every_setting_has_a_flag_and_a_row() -> None:
    flags = {option for param in server.command.params for option in param.opts}
    for attribute in attrs.fields(ServerConfig):
        flag = "--" + attribute.name.replace("_", "-")
        assert flag in flags
        assert f"| `{attribute.name}` | `{flag}` |" in DOCUMENTED.read_text()


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The settings that servers would have been started with."""
    found: list[ServerConfig] = []
    monkeypatch.setattr(server, "_serve", found.append)
    monkeypatch.setattr(server, "run", lambda main, *known: main())
    return found


def call(*arguments: str, **environment: str) -> Result:
    """Run `coord` in this process."""
    return CliRunner().invoke(main.root, arguments, env=environment, catch_exceptions=False)


def test_a_flag_beats_the_environment_beats_zoo_cfg(started: list[ServerConfig], tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nclientPort=7\nclientPortAddress=127.0.0.1\nsnapCount=5\n")
    for before, behind in ((("--config", str(path)), ()), ((), ("--config", str(path)))):
        call(*before, "server", *behind)
        call(*before, "server", *behind, COORD_SERVER_SNAPSHOT_EVERY="6")
        call(*before, "server", "--snapshot-every", "7", *behind, COORD_SERVER_SNAPSHOT_EVERY="6")
    assert [config.snapshot_every for config in started] == [5, 6, 7, 5, 6, 7]
    assert {str(config.listen[0]) for config in started} == {"127.0.0.1:7"}
    assert {config.tick_time_ms for config in started} == {3_000}


def test_the_servers_own_file_comes_before_the_other(started: list[ServerConfig], tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('[server]\ndata_dir = "d"\nsnapshot_every = 5\noutstanding = 6\n')
    (tmp_path / "b.toml").write_text("[server]\nsnapshot_every = 7\n")
    call("--config", str(tmp_path / "a.toml"), "server", "--config", str(tmp_path / "b.toml"))
    assert [(config.snapshot_every, config.outstanding) for config in started] == [(7, 6)]


def test_a_zoo_cfg_with_only_a_secure_port_listens_nowhere_else(started: list[ServerConfig], tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nsecureClientPort=7\nssl.keyStore.location=/k.pem\n")
    assert call("server", "--config", str(path)).output == ""
    assert (started[0].listen, [str(one) for one in started[0].secure_listen]) == ((), ["[::]:7"])


@pytest.mark.parametrize(
    ("name", "text", "port"),
    [
        ("any", "dataDir=/d\nclientPort=7\n", 7),
        ("any", '[server]\ndata_dir = "/d"\nlisten = ["127.0.0.1:8", "[::1]:9"]\n', 8),
        ("x.properties", "dataDir=/d\nclientPort=7\n[x\n", 7),
        ("any", '# settings\n\n  [server]\ndata_dir = "/d"\nlisten = ["127.0.0.1:8"]\n', 8),
    ],
)
def test_told_by_suffix_or_content(
    started: list[ServerConfig], tmp_path: Path, name: str, text: str, port: int
) -> None:
    (tmp_path / name).write_text(text)
    result = call("server", "--config", str(tmp_path / name))
    assert result.exit_code == 0, result.output
    assert started[0].listen[0].port == port


def test_every_setting_may_come_from_toml(started: list[ServerConfig], tmp_path: Path) -> None:
    """Numbers, words, flags, files and lists of addresses."""
    wanted: dict[str, Any] = {"data_dir": "/d", "listen": ["127.0.0.1:1"]}
    for attribute in attrs.fields(ServerConfig):
        if isinstance(attribute.default, bool | int):
            wanted[attribute.name] = attribute.default
    wanted |= {
        "super_digest": "a:b",
        "admin_commands": "off",
        "fourletter_whitelist": "ruok",
        "tls_client_auth": "none",
    }
    lines = [f"{name} = {str(value).lower() if type(value) is bool else repr(value)}" for name, value in wanted.items()]
    (tmp_path / "all.toml").write_text("[server]\n" + "\n".join(lines) + "\n")
    assert call("server", "--config", str(tmp_path / "all.toml")).output == ""
    assert started[0].super_digest == "a:b"


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("a.toml", "[server]\nfoo = 1\n", "server.foo"),
        ("a.toml", "[server]\nconfig = 'x'\n", "server.config"),
        ("a.toml", "[druid.broker]\nportt = 1\n", "druid.broker.portt"),
        ("zoo.cfg", "dataDir=/d\nclientPort=1\nserver.1=a:1:2\nserver.2=b:1:2\n", "ensemble"),
        ("zoo.cfg", "dataDir=/d\n", "clientPort"),
        ("zoo.cfg", "clientPort=1\n", "--data-dir"),
        ("zoo.cfg", "dataDir=/d\nclientPort=99999\n", "99999"),
    ],
)
def test_what_is_wrong_is_told(started: list[ServerConfig], tmp_path: Path, name: str, text: str, named: str) -> None:
    (tmp_path / name).write_text(text)
    for arguments in (("server", "--config", str(tmp_path / name)), ("--config", str(tmp_path / name), "server")):
        result = call(*arguments)
        assert result.exit_code == 2
        assert named in result.output
    assert started == []


def test_a_server_starts_from_zoo_cfg_and_warns_in_one_line(tmp_path: Path) -> None:
    """The whole of it: a real process."""
    path = tmp_path / "zoo.cfg"
    path.write_text(
        f"tickTime=2000\ndataDir={tmp_path / 'data'}\nclientPort=0\nclientPortAddress=127.0.0.1\ninitLimit=5\nfoo=1\n"
    )
    command = [sys.executable, "-m", "cli", "--log-level", "warning", "server", "--config", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("READY server 127.0.0.1:")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    [line] = errors.splitlines()
    assert line.endswith(f"{path}: keys that mean nothing here: initLimit, foo")
