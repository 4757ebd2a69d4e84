"""The sources of a state: a snapshot file, the data directory of a stopped server, or a running server."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import attrs
import click

from cli.access import Access
from cli.running import CommandFailedError
from cli.snapshot.download import download
from coordserver.config.address import Address
from coordserver.core.state.machine import Machine
from coordserver.storage import FileDisk, StorageError, open_data_dir, read_snapshot, read_state
from coordserver.storage.foreign import require_ours_or_empty

DEFAULT_SERVER = "127.0.0.1:2181"


@attrs.frozen
class Source:
    """A source of a state. Either `path`, a file or a directory, or `server` is set."""

    path: Path | None = None
    server: Address | None = None

    def __str__(self) -> str:
        return str(self.path or self.server)


class SourceType(click.ParamType[Source]):
    """The type of a command line argument that names a snapshot file, a data directory, or HOST:PORT."""

    name = "file|directory|host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Source:
        """Return the file or directory of that name if it exists, else the address. Fails with a usage error."""
        if isinstance(value, Source):
            return value
        path = Path(value)
        if path.exists():
            return Source(path=path.absolute())
        try:
            return Source(server=Address.parse(value))
        except ValueError:
            self.fail(f"{value}: no such file or directory, and no HOST:PORT", param, ctx)


def load(source: Source, access: Access) -> Machine:
    """Return the state of a source, with all checksums verified. Raises StorageError, CommandFailedError."""
    if source.server is not None:
        with tempfile.TemporaryDirectory(prefix="coord-snapshot-") as directory:
            file = Path(directory) / "snapshot"
            download(source.server, access, file)
            return load_file(file)
    assert source.path is not None
    return load_directory(source.path) if source.path.is_dir() else load_file(source.path)


def load_file(path: Path) -> Machine:
    """Return the state in a snapshot file. Raises StorageError."""
    try:
        return read_snapshot(FileDisk(path.parent), path.name, Machine)
    except OSError as fault:
        raise StorageError(f"{path}: {fault.strerror or fault}") from None


def load_directory(path: Path) -> Machine:
    """Return the state with which a server would start on a data directory. No server may be running on it.

    Raises StorageError, CommandFailedError.
    """
    if not path.is_dir():
        raise CommandFailedError(f"{path}: no such directory")
    require_ours_or_empty(path)
    with open_data_dir(path) as disk:
        try:
            return read_state(disk, Machine)[0]
        except StorageError as fault:
            raise StorageError(f"{path}: {fault}") from None
