"""How commands show what they found: aligned text for people, JSON for programs (`-o json`)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS = ("text", "json")

_CONTROLS = frozenset(chr(code) for code in range(32)) - set("\t\n\r") | {chr(127)}
_PIPE_WIDTH = 10_000  # where no terminal sets a width, nothing is to be cut off


def output_option(command: _Command) -> _Command:
    """`-o text|json` for a command; its callback gets `output`, None where the user named none."""
    return click.option("-o", "--output", type=click.Choice(FORMATS), help="How to show the answer.")(command)


def print_json(value: Any) -> None:
    """One JSON value on one line, so that many of them can be read line by line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def text_of(data: bytes) -> str | None:
    """Bytes as text, None where they are not UTF-8 or hold control characters that a terminal would obey."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return None if _CONTROLS.intersection(text) else text


def data_fields(data: bytes) -> dict[str, str]:
    """A znode's data as members of a JSON object: text where it is text, else base64 and a member that says so."""
    text = text_of(data)
    if text is not None:
        return {"data": text}
    return {"data": base64.b64encode(data).decode(), "encoding": "base64"}


def data_line(data: bytes) -> str:
    """A znode's data as text for people; base64 is told by its prefix."""
    text = text_of(data)
    return f"base64:{base64.b64encode(data).decode()}" if text is None else text


def print_table(title: str, rows: Sequence[Mapping[str, Any]], *, to_stderr: bool = False) -> None:
    """Rows, all with the keys of the first, as a table; numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for heading in rows[0] if rows else ():
        numeric = all(isinstance(row[heading], int | float) for row in rows)
        table.add_column(heading, justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    console = Console(highlight=False, stderr=to_stderr)
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    console.print(table)


def cell(value: Any) -> str:
    """One value of a table: numbers with separators and no more digits than mean something."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
