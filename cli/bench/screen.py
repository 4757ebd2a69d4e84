"""Progress of a measurement, on standard error so that standard output holds nothing but the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.bench.latency import Progress as Report


@contextmanager
def progress_shown() -> Iterator[Report]:
    """A bar for each operation; where there is no terminal, a line as each begins."""
    console = Console(stderr=True, highlight=False)
    bars = Progress(
        TextColumn("{task.description:8}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    )
    known: dict[str, int] = {}

    def report(operation: str, part: float) -> None:
        if operation not in known:
            known[operation] = bars.add_task(operation, total=1.0)
            if not console.is_terminal:
                console.print(f"measuring {operation}")
        bars.update(bars.task_ids[known[operation]], completed=part)

    if console.is_terminal:
        with bars:
            yield report
    else:
        yield report
