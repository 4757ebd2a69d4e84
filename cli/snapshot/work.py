"""The steps that several commands share. Expected errors become a CommandFailedError with one line of text."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import click

from cli.access import Access
from cli.running import CommandFailedError, run
from cli.snapshot.download import download
from cli.snapshot.entries import Entry
from cli.snapshot.json_lines import ExportError, read_entries
from cli.snapshot.new_file import new_file
from cli.snapshot.sources import Source, load_directory, load_file
from coordserver.client import CoordError
from coordserver.core.state.machine import Machine
from coordserver.storage import FileDisk, StorageError, open_data_dir, save_snapshot
from coordserver.storage.backup import Installed
from coordserver.storage.backup import restore as restore_into
from coordserver.storage.backup_check import contradiction
from coordserver.storage.layout import log_indexes, snapshot_indexes


@contextmanager
def known_faults() -> Iterator[None]:
    """Convert the errors of the block that an operator can correct to CommandFailedError."""
    try:
        yield
    except (StorageError, CoordError, ExportError, LookupError) as fault:
        raise CommandFailedError(str(fault)) from None
    except OSError as fault:
        raise CommandFailedError(f"{fault.filename}: {fault.strerror or fault}") from None


def save_to(source: Source, access: Access, file: Path) -> Machine:
    """Save the state of a source to a new file. Returns the state.

    The file gets its name after it was synced to disk and read back. Raises CommandFailedError, also if the file
    exists.
    """
    with known_faults(), new_file(file) as part:
        if source.server is not None:
            download(source.server, access, part)
        else:
            assert source.path is not None
            state = load_directory(source.path) if source.path.is_dir() else load_file(source.path)
            save_snapshot(FileDisk(part.parent), state, name=part.name)
        return verified(part)


def verified(file: Path) -> Machine:
    """Return the state in a snapshot file. Raises CommandFailedError if the file is damaged or contradicts itself."""
    with known_faults():
        state = load_file(file)
        fault = contradiction(state)
    if fault:
        raise CommandFailedError(f"{file}: {fault}")
    return state


def install(state: Machine, data_dir: Path, *, replace: bool) -> Installed:
    """Install a state in a data directory. The directory must be empty unless `replace` is true.

    Raises CommandFailedError.
    """
    with known_faults(), open_data_dir(data_dir.absolute()) as disk:
        names = disk.names()
        if not replace and (log_indexes(names) or snapshot_indexes(names)):
            raise CommandFailedError(f"{data_dir}: has a history already; --replace sets its files aside")
        return restore_into(disk, state)


def read_export(lines: Iterable[str], *, ephemerals: bool) -> list[Entry]:
    """Return the entries of an export. With `ephemerals`, ephemerals become persistent. Raises ExportError."""
    entries = list(read_entries(lines))
    return [attrs.evolve(entry, owner=0) for entry in entries] if ephemerals else entries


def send(server: str, access: Access, entries: Sequence[Entry], *, exact: bool) -> dict[str, int]:
    """Transfer entries to a running server, with a progress bar on stderr. Returns the counts by their names.

    `exact` deletes the other znodes below the first entry.
    """
    from cli.snapshot.transfer import Counts, TransferError, transfer
    from coordserver.client import connect

    done: list[Counts] = []

    async def main() -> None:
        async with connect(server, tls=access.tls, auth=access.auth, name="coord snapshot") as client:
            with click.progressbar(length=len(entries), label="znodes", file=sys.stderr) as bar:
                done.append(await transfer(client, entries, exact=exact, progress=bar.update))

    run(main, CoordError, TransferError)
    return attrs.asdict(done[0])
