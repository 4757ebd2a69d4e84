"""The progress of a measurement. It is shown on standard error, because standard output has only the result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.bench.latency import Progress as Report


@contextmanager
def progress_shown() -> Iterator[Report]:
    """Yield a function that shows progress: a bar for each operation, or without a terminal a line when it starts."""
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
