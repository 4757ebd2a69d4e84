"""On which directories a server begins with an empty tree, and which it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from raw_client import ANY_PORT

from cli import main
from cli.config_file import load_zoo_cfg
from coordserver.config.server import ServerConfig
from coordserver.server.serve import serve
from coordserver.storage import open_data_dir, recover
from coordserver.storage.foreign import ForeignDirectoryError, require_ours_or_empty

ZOOKEEPER = [
    "version-2/snapshot.0",
    "version-2/snapshot.1f",
    "version-2/log.1",
    "version-2/snapshot.100000001.gz",
    "version-2/snapshot.0.snappy",
    "snapshot.0",
    "log.100000001",
]
STRANGERS = [
    "notes.txt",
    "metadata.sqlite",
    "server/log",
    "snapshot.0000000000000001.damaged",
    "log.0000000000000001.before-01234567",
    "log.0000000000000001.gz",
]
HARMLESS = [
    "lock",
    "lost+found/",
    "myid",
    "zookeeper_server.pid",
    "initialize",
    "version-2/",
    "version-2/acceptedEpoch",
    ".gitkeep",
    ".snapshot/",
    "log.0000000000000001.tmp",
    "snapshot.0000000000000007.tmp",
]


def lay(directory: Path, name: str) -> None:
    """Make this file, or with a slash at its end this directory."""
    path = directory / name
    if name.endswith("/"):
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")


def laid(directory: Path) -> list[Path]:
    """All that is there."""
    return sorted(directory.rglob("*"))


def ours(directory: Path) -> None:
    """Begin a history there."""
    with open_data_dir(directory) as disk:
        recover(disk).log.close()


@pytest.mark.parametrize("name", HARMLESS)
def test_what_a_new_volume_may_hold(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    require_ours_or_empty(tmp_path)
    assert "a new history begins" in check(tmp_path, 0)


@pytest.mark.parametrize("name", [*ZOOKEEPER, *STRANGERS])
async def test_somebody_elses_directory_is_refused_by_all_and_not_touched(tmp_path: Path, name: str) -> None:
    lay(tmp_path, name)
    before = laid(tmp_path)
    with pytest.raises(ForeignDirectoryError) as caught:
        await serve(ServerConfig(data_dir=tmp_path, listen=(ANY_PORT,)))
    told = str(caught.value)
    assert "\n" not in told
    assert "import-zookeeper" in told
    if name in ZOOKEEPER:
        assert f"coord snapshot import-zookeeper --data-dir {tmp_path} {tmp_path}" in told
    else:
        assert name.partition("/")[0] in told
    assert told in check(tmp_path, 1)
    saved = CliRunner().invoke(main.root, ["snapshot", "save", str(tmp_path), str(tmp_path.parent / "file")])
    assert told in str(saved.exception) + saved.output
    assert laid(tmp_path) == before


@pytest.mark.parametrize("name", [*ZOOKEEPER[:5], *STRANGERS])
def test_strangers_beside_a_history_of_ours_are_left_alone(tmp_path: Path, name: str) -> None:
    ours(tmp_path)
    lay(tmp_path, name)
    require_ours_or_empty(tmp_path)


def test_a_directory_that_is_not_there_is_empty(tmp_path: Path) -> None:
    require_ours_or_empty(tmp_path / "none")


def test_the_log_directory_of_zoo_cfg_counts(tmp_path: Path) -> None:
    data, logs = tmp_path / "data", tmp_path / "logs"
    lay(logs, "version-2/log.1")
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={data}\ndataLogDir={logs}\nclientPort=1\n")
    found = load_zoo_cfg(config)
    assert found.settings["zookeeper_log_dir"] == str(logs)
    with pytest.raises(ForeignDirectoryError, match=f"import-zookeeper --log-dir {logs} --data-dir {data} {data}"):
        require_ours_or_empty(data, logs)
    ours(data)
    require_ours_or_empty(data, logs)


def test_the_command_line_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(tmp_path, "data/version-2/snapshot.0")
    config = tmp_path / "zoo.cfg"
    config.write_text(f"dataDir={tmp_path / 'data'}\nclientPort=0\nclientPortAddress=127.0.0.1\n")
    result = CliRunner().invoke(main.root, ["--log-level", "error", "server", "--config", str(config)])
    assert result.exit_code == 1
    assert result.output.count("\n") <= 1


def check(directory: Path, code: int) -> str:
    """What `coord check` says, with this exit code."""
    result = CliRunner().invoke(main.root, ["check", str(directory)])
    assert result.exit_code == code, result.output
    return result.output
