"""Starts that cannot work, each told in one line: credentials, missing extras, variables that nothing reads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from click.testing import CliRunner
from server_process import ServerProcess

from cli import main
from cli.environment import unknown_variables
from cli.extras import EXTRAS, missing_extra
from coordserver.client import CREATOR_ALL_ACL, Auth, connect
from coordserver.core.model.access import digest_identity
from druidroles.coordination.access import CoordAccess

PASSWORD = "digest:ünï€:pass wörd€"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Whose super user has a name and password of more than ASCII."""
    digest = digest_identity(PASSWORD.removeprefix("digest:").encode()).id
    running = ServerProcess(tmp_path_factory.mktemp("server"), "--super-digest", digest)
    running.start()
    yield running
    running.kill()


def coord(*words: object, code: str = "", **environment: str) -> tuple[int, str]:
    """Run `coord` in a process, behind some Python; exit code and standard error."""
    start = f"import sys\nsys.argv[0] = 'coord'\n{code}\nfrom cli.main import main\nmain()"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
    done = subprocess.run(
        [sys.executable, "-c", start, *map(str, words)],
        capture_output=True,
        env={**kept, **environment},
        timeout=50,
        check=False,
    )
    return done.returncode, done.stderr.decode()


# -- credentials ------------------------------------------------------------------------------------------------------

ROLE = ("--port", "0", "--coord", "coord://127.0.0.1:1/d")
WRONG = ["foo:u:p", "x509:cn", "auth:", "digest:u", ":", "plain", "@/nowhere/file", "digest:\udcff:p"]
COMMANDS: dict[str, tuple[str, ...]] = {
    "shell": ("shell", "--server", "HOST", "--auth", "AUTH", "ls", "/"),
    "shell of zk": ("shell", "--server", "zk://HOST", "--auth", "AUTH", "ls", "/"),
    "save": ("snapshot", "save", "--auth", "AUTH", "HOST", "FILE"),
    "export": ("snapshot", "export", "--auth", "AUTH", "HOST", "FILE"),
    "diff": ("snapshot", "diff", "--auth", "AUTH", "HOST", "HOST"),
    "router": (
        "druid",
        "router",
        "--port",
        "0",
        "--data-dir",
        "FILE",
        "--coord",
        "coord://HOST/d",
        "--coord-auth",
        "AUTH",
    ),
}


@pytest.mark.parametrize(
    ("command", "auth"),
    [
        *(("shell", auth) for auth in WRONG),
        *((command, auth) for command in COMMANDS for auth in ("foo:u:p", "x509:cn", "plain") if command != "shell"),
    ],
)
def test_wrong_credentials_are_one_line(server: ServerProcess, tmp_path: Path, command: str, auth: str) -> None:
    places = {"HOST": f"127.0.0.1:{server.port}", "FILE": str(tmp_path / "file"), "AUTH": auth}
    words = [places.get(word, word) for word in COMMANDS[command]]
    words = [word.replace("HOST", places["HOST"]) for word in words]
    code, error = coord("--log-level", "warning", *words)
    assert code in (1, 2, 3)
    assert "Traceback" not in error
    told = [line for line in error.splitlines() if line.startswith("coord ")]
    assert len(told) == 1, error
    assert len(error.splitlines()) <= 2, error  # a role's log has a line too


def lock_root(address: str) -> None:
    """Leave the root to whoever has the password."""

    async def main() -> None:
        async with connect(address, auth=(Auth.parse(PASSWORD),)) as client:
            await client.set_acl("/", CREATOR_ALL_ACL)

    trio.run(main)


def test_credentials_of_any_letters_open_the_door(server: ServerProcess, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD + "\n")
    address = f"127.0.0.1:{server.port}"
    lock_root(address)
    for auth in (PASSWORD, f"@{secret}"):
        file = tmp_path / f"saved{len(auth)}"
        assert coord("snapshot", "save", "--auth", auth, address, file) == (0, "")
    assert coord("snapshot", "save", "--auth", "digest:ünï€:other", address, tmp_path / "x")[0] == 1
    code, error = coord("snapshot", "save", "--auth", "digest:u:p\nq", address, tmp_path / "x")
    assert (code, error) == (
        1,
        "coord snapshot save: the credentials cannot be sent over HTTP: they hold a line break\n",
    )


# -- extras -----------------------------------------------------------------------------------------------------------

NEEDS: list[tuple[str, tuple[str, ...], str]] = [
    *(
        (module, ("druid", role, *ROLE, "--data-dir", "DIR", *more), "druid")
        for role, more in (
            ("router", ()),
            ("broker", ()),
            ("historical", ("--deep-storage", "DIR")),
            ("middlemanager", ("--deep-storage", "DIR")),
            ("coordinator", ("--metadata", "DIR/m.sqlite")),
            ("overlord", ("--metadata", "DIR/m.sqlite")),
        )
        for module in (("starlette", "hypercorn", "httpx2") if role == "router" else ("starlette",))
    ),
    ("duckdb", ("druid", "historical", *ROLE, "--data-dir", "DIR", "--deep-storage", "DIR"), "druid"),
    ("httpx2", ("quickstart", "--data-dir", "DIR", "--no-keep"), "druid"),
    ("httpx2", ("druid", "explain", "x"), "druid"),
    ("psycopg", ("druid", "overlord", *ROLE, "--data-dir", "DIR", "--metadata", "postgresql://h/d"), "postgres"),
    ("psycopg_pool", ("druid", "overlord", *ROLE, "--data-dir", "DIR", "--metadata", "postgresql://h/d"), "postgres"),
    ("obstore", ("druid", "historical", *ROLE, "--data-dir", "DIR", "--deep-storage", "s3://b/p"), "s3"),
    ("cramjam", ("snapshot", "import-zookeeper", "SNAPPY", "--data-dir", "DIR/new"), "snappy"),
]


@pytest.mark.parametrize(("module", "words", "extra"), NEEDS, ids=[f"{n[0]}-{'-'.join(n[1][:2])}" for n in NEEDS])
def test_a_missing_extra_is_named_in_one_line(tmp_path: Path, module: str, words: tuple[str, ...], extra: str) -> None:
    snappy = tmp_path / "zookeeper" / "version-2"
    snappy.mkdir(parents=True)
    (snappy / "snapshot.0.snappy").write_bytes(b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
    (tmp_path / "dir").mkdir()
    places = {"DIR": str(tmp_path / "dir"), "SNAPPY": str(tmp_path / "zookeeper")}
    for name, place in places.items():
        words = tuple(word.replace(name, place) for word in words)
    code, error = coord("--log-level", "error", *words, code=f"sys.modules[{module!r}] = None")
    assert (
        error
        == f"coord: {module} is not installed; it comes with the extra {extra}: pip install 'coordserver[{extra}]'\n"
    )
    assert code == 1


@pytest.mark.parametrize("module", EXTRAS)
def test_the_extras_are_those_of_the_package(module: str) -> None:
    import configparser

    config = configparser.ConfigParser(interpolation=None)
    config.read(Path(__file__).parents[2] / "setup.cfg")
    wanted = config["options.extras_require"][EXTRAS[module]]
    assert module.partition("_")[0] in wanted
    fault = ModuleNotFoundError(f"No module named {module!r}", name=f"{module}.inner")
    assert f"[{EXTRAS[module]}]" in missing_extra(BaseExceptionGroup("", [fault]))


def test_any_other_missing_module_is_a_fault_of_ours() -> None:
    assert missing_extra(ModuleNotFoundError("No module named 'json2'", name="json2")) == ""
    assert missing_extra(BaseExceptionGroup("", [ModuleNotFoundError(name="duckdb"), ValueError()])) == ""


# -- variables --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("COORD_SERVER_DATADIR", "/d", "COORD_SERVER_DATADIR (did you mean COORD_SERVER_DATA_DIR?)"),
        ("COORD_LOGLEVEL", "x", "COORD_LOGLEVEL (did you mean COORD_LOG_LEVEL?)"),
        ("COORD_DRUID_ROUTER_PROT", "1", "COORD_DRUID_ROUTER_PROT (did you mean COORD_DRUID_ROUTER_PORT?)"),
        ("COORD_QQQQQQQQQQQQ", "1", "COORD_QQQQQQQQQQQQ"),
        ("COORD_SERVER_DATA_DIR", "/d", ""),
        ("COORD_SERVER", "h:1", ""),
        ("COORD_AUTH", "digest:u:p", ""),
        ("COORD_ACCESS", "[]", ""),
        ("COORD_LIFELINE_FD", "3", ""),
        ("COORD_SNAPSHOT_IMPORT_ZOOKEEPER_LOG_DIR", "/d", ""),
        ("COORD_SERVICE_HOST", "10.0.0.1", ""),
        ("COORD_SERVICE_PORT_CLIENT", "2181", ""),
        ("COORD_PORT", "tcp://10.0.0.1:2181", ""),
        ("COORD_0_PORT_2181_TCP_ADDR", "10.0.0.1", ""),
        ("OTHER_SERVER_DATADIR", "/d", ""),
    ],
)
def test_variables_that_nothing_reads_are_named(name: str, value: str, told: str) -> None:
    assert unknown_variables(main.root, {name: value, "HOME": "/"}) == told


def test_every_option_is_known_by_its_variable() -> None:
    def variables(command: click.Command, prefix: str) -> Iterator[str]:
        yield from (f"{prefix}_{param.name}".upper() for param in command.params if isinstance(param, click.Option))
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                inner = command.get_command(click.Context(command), name)
                assert inner is not None
                yield from variables(inner, f"{prefix}_{name.replace('-', '_')}")

    names = list(variables(main.root, "COORD"))
    assert len(names) > 200
    assert unknown_variables(main.root, dict.fromkeys(names, "x")) == ""


def test_the_warning_is_one_line_without_values() -> None:
    code, error = coord("check", "/", COORD_SERVER_DATADIR="s3cret", COORD_X="s3cret")
    warnings = [line for line in error.splitlines() if "WARNING" in line]
    assert len(warnings) == 1
    assert "COORD_SERVER_DATADIR (did you mean COORD_SERVER_DATA_DIR?), COORD_X" in warnings[0]
    assert "s3cret" not in error
    assert code == 1


# -- a dry run --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("servers", ["coord://127.0.0.1:1,127.0.0.1:2", "zk://127.0.0.1:1,[::1]:2"])
def test_a_dry_run_asks_the_servers_of_its_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: str) -> None:
    asked: list[str] = []

    def connect(access: CoordAccess, servers: str, **options: Any) -> Callable[[], None]:
        asked.append(servers)
        raise click.ClickException("asked")

    monkeypatch.setattr(CoordAccess, "connect", connect)
    (tmp_path / "m.sqlite").touch()
    options = ("--coord", f"{servers}/druid", "--metadata", str(tmp_path / "m.sqlite"), "--data-dir", str(tmp_path))
    CliRunner().invoke(main.root, ["druid", "coordinator", "--dry-run", *options])
    assert asked == [servers]
