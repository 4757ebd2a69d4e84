"""`coord check`: an offline look at a data directory."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import click

from cli.main import EXIT_FAILED
from cli.render import output_option, print_json, print_table


@click.command("check")
@output_option
@click.argument("data_dir", type=click.Path(path_type=Path, exists=True, file_okay=False))
def command(output: str | None, data_dir: Path) -> None:
    """Check every checksum, digest and chain in DATA_DIR, which no server may be running on, and say what a start would
    do. Nothing is changed. Exit code 0: all is whole; 1: something is damaged, or a start would be refused.
    """
    from cli.running import CommandFailedError
    from coordserver.storage import StorageError, open_data_dir
    from coordserver.storage.backup_check import CheckReport, check_directory
    from coordserver.storage.foreign import ForeignDirectoryError, require_ours_or_empty

    try:
        require_ours_or_empty(data_dir.absolute())
        with open_data_dir(data_dir.absolute()) as disk:
            report = check_directory(disk)
    except ForeignDirectoryError as fault:
        report = CheckReport((), (), str(fault))
    except (StorageError, OSError) as fault:
        raise CommandFailedError(str(fault)) from None
    if output == "json":
        print_json(attrs.asdict(report) | {"sound": report.sound})
    else:
        rows = [{"file": f.name, "bytes": f.bytes, "": f.fault or f.about} for f in report.files]
        print_table(f"{data_dir}", rows)
        for line in report.recovery:
            click.echo(f"a start: {line}")
        if report.refusal:
            click.echo(f"a start is refused: {report.refusal}")
        click.echo("whole" if report.sound else "NOT OURS" if not report.files else "DAMAGED")
    sys.exit(0 if report.sound else EXIT_FAILED)
