"""What the quickstart puts on the screen: steps, progress and the answers as tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from cli.quickstart.layout import Layout


class Screen:
    """The terminal, or a plain text file where there is none."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        self._began = time.monotonic()

    def say(self, text: str) -> None:
        """One line, with the seconds since the start."""
        self.console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/dim]  {text}", soft_wrap=True)

    @contextmanager
    def step(self, text: str) -> Iterator[Progress]:
        """A step that takes a while: a spinner with its progress, then one line that says how long it took."""
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        began = time.monotonic()
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as progress:
            progress.add_task(text, total=None)
            yield progress
        self.say(f"{text} [dim]({time.monotonic() - began:.1f} s)[/dim]")

    def addresses(self, layout: Layout) -> None:
        """Every process with its address and its log."""
        table = Table(title="The cluster", title_justify="left")
        for heading in ("process", "address", "log"):
            table.add_column(heading, overflow="fold")
        for spec in (layout.server, *layout.roles):
            table.add_row(spec.name, spec.url, str(layout.data_dir / "log" / f"{spec.name}.log"))
        self.console.print(table)

    def answer(self, title: str, rows: list[dict[str, Any]]) -> None:
        """Rows as a table."""
        table = Table(title=title, title_justify="left")
        for heading in rows[0] if rows else {}:
            numeric = isinstance(rows[0][heading], int | float)
            table.add_column(heading, justify="right" if numeric else "left")
        for row in rows:
            table.add_row(*(cell(value) for value in row.values()))
        self.console.print(table)


def cell(value: Any) -> str:
    """One value as text: null as Druid's console shows it, numbers with separators."""
    if value is None:
        return "null"
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def flatten(query_type: str, answer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows inside a native query's answer, whatever its shape."""
    if query_type == "timeseries":
        if len(answer) == 1:
            return [answer[0]["result"]]
        return [{"time": row["timestamp"], **row["result"]} for row in answer]
    if query_type == "topN":
        return [row for bucket in answer for row in bucket["result"]]
    return [row["event"] for row in answer]
