"""Whether a directory is one to start on: one of ours, or one with nothing in it.

A wrong path or a forgotten import would give an empty tree on somebody else's files, and a client that connects to it
would see all its znodes gone. So a start is refused where the directory has files, but no log or snapshot of ours.

A new volume is not always empty. What may lie in one: `lost+found`, dotfiles, our `lock` and unfinished files of a
first start that was killed, and ZooKeeper's `myid`, process id, `initialize` and a `version-2` without data.
"""

from __future__ import annotations

import re
from pathlib import Path

from coordserver.storage.errors import StorageError
from coordserver.storage.layout import LOCK, is_temporary, log_indexes, snapshot_indexes

VERSION_DIRECTORY = "version-2"
NAMED_MOST = 3
_HARMLESS = frozenset({LOCK, "lost+found", "myid", "zookeeper_server.pid", "initialize"})
_ZOOKEEPER_DATA = re.compile(r"(snapshot|log)\.[0-9a-fA-F]{1,15}(\.gz|\.snappy)?")


class ForeignDirectoryError(StorageError):
    """A directory holds files, but no history of ours."""


def require_ours_or_empty(path: Path, log_dir: Path | None = None) -> None:
    """Raise ForeignDirectoryError where a start would begin with an empty tree beside files of somebody else's.

    `log_dir`: ZooKeeper's dataLogDir, where the settings name one. A directory that does not exist is empty.
    """
    names = _names(path)
    if log_indexes(names) or snapshot_indexes(names):
        return
    found = [where for where in dict.fromkeys((path, log_dir or path)) if has_zookeeper_data(where)]
    if found:
        raise ForeignDirectoryError(
            f"data directory {path}: {found[0]} holds the data of an Apache ZooKeeper, which is not read in place; "
            f"stop that ZooKeeper and run: {import_command(path, log_dir)}"
        )
    strangers = [name for name in names if not _is_harmless(path, name)]
    if strangers:
        more = f" and {len(strangers) - NAMED_MOST} more" if len(strangers) > NAMED_MOST else ""
        raise ForeignDirectoryError(
            f"data directory {path}: it holds files ({', '.join(map(repr, strangers[:NAMED_MOST]))}{more}), but no log "
            "or snapshot of coord; name an empty directory, or bring data in with coord snapshot restore, import or "
            "import-zookeeper"
        )


def has_zookeeper_data(path: Path) -> bool:
    """Whether a ZooKeeper kept snapshots or logs here: below `version-2`, or here itself."""
    places = (path / VERSION_DIRECTORY, path)
    return any(_ZOOKEEPER_DATA.fullmatch(name) for place in places for name in _names(place))


def import_command(path: Path, log_dir: Path | None = None) -> str:
    """How the ZooKeeper's data is brought into the directory."""
    source = path.parent if path.name == VERSION_DIRECTORY else path
    logs = f"--log-dir {log_dir} " if log_dir is not None and log_dir != path else ""
    target = path if source == path else "DIRECTORY"
    return f"coord snapshot import-zookeeper {logs}--data-dir {target} {source}"


def _is_harmless(path: Path, name: str) -> bool:
    if name in _HARMLESS or name.startswith(".") or is_temporary(name):
        return True
    return name == VERSION_DIRECTORY and (path / name).is_dir()


def _names(path: Path) -> list[str]:
    """Sorted; none where there is no directory to read. What is wrong with it is said by whoever opens it."""
    try:
        return sorted(entry.name for entry in path.iterdir())
    except OSError:
        return []
