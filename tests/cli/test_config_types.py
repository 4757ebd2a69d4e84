"""Every option of every command as a key of a TOML file, with values of every type: converted, or refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli import main
from cli.config_file import load_for_root

VALUES = {
    "a number": "25182",
    "a negative number": "-1",
    "a fraction": "1.5",
    "infinity": "inf",
    "not a number": "nan",
    "a boolean": "true",
    "a text": '"text"',
    "an empty text": '""',
    "a date": "1979-05-27",
    "a time": "07:32:00",
    "a list": '["text", "other"]',
    "a list of numbers": "[1, 2]",
    "a list of lists": '[["text"]]',
    "a list of tables": "[{a = 1}]",
    "an empty list": "[]",
}


def options(command: click.Command, ctx: click.Context, table: str = "") -> Iterator[tuple[str, click.Option]]:
    """Every option with the table that it is read from."""
    for param in command.params:
        if isinstance(param, click.Option) and param.name != "config":
            yield table, param
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            inner = command.get_command(ctx, name)
            assert inner is not None
            yield from options(inner, ctx, f"{table}.{name}".strip("."))


ROOT = click.Context(main.root)
OPTIONS = list(options(main.root, ROOT))


def load(tmp_path: Path, table: str, key: str, value: str) -> Any:
    """The value as the command would get it."""
    path = tmp_path / "coord.toml"
    head = f"[{'.'.join(json.dumps(part) for part in table.split('.'))}]\n" if table else ""
    path.write_text(f"{head}{key} = {value}\n")
    found = load_for_root(click.Context(main.root), path)
    for part in filter(None, table.split(".")):
        found = found[part]
    return found[key]


@pytest.mark.parametrize(("table", "option"), OPTIONS, ids=[f"{table}.{one.name}" for table, one in OPTIONS])
def test_a_value_of_any_type_is_converted_or_refused_by_name(tmp_path: Path, table: str, option: click.Option) -> None:
    assert option.name is not None
    for kind, written in VALUES.items():
        fault: click.UsageError | None = None
        try:
            value = load(tmp_path, table, option.name, written)
            converted = option.type_cast_value(click.Context(main.root), value)
        except click.UsageError as refused:
            fault = refused
        if fault is not None:
            named = f"{f'{table}.' if table else ''}{option.name}: " in fault.message
            assert named or (isinstance(fault, click.BadParameter) and fault.param is option), kind
            assert "\n" not in fault.message
            continue
        if isinstance(converted, float):
            assert math.isfinite(converted), kind
        if isinstance(option.type, click.types.IntParamType) and not option.multiple:
            assert str(converted) == written.strip('"'), f"{kind}: {written} became {converted}"
        if isinstance(option.type, click.types.BoolParamType):
            assert written == "true", f"{kind}: {written} became {converted}"
        if option.multiple:
            assert converted == () or written.startswith(("[", '"')) or len(converted) == 1, kind
            assert converted != tuple("text"), kind


def test_a_number_for_an_address(tmp_path: Path) -> None:
    path = tmp_path / "coord.toml"
    path.write_text("[server]\ndata_dir = '/d'\nlisten = 25182\ntls_key_password = 4711\n")
    result = CliRunner().invoke(main.root, ["--config", str(path), "server"])
    assert result.exit_code == 2
    assert f"{path}: server.listen: a number, where HOST:PORT in quotes is expected" in result.output
    assert "server.tls_key_password: a number, where text in quotes is expected" in result.output
    assert "4711" not in result.output


@pytest.mark.parametrize("written", ['"127.0.0.1:1"', '["127.0.0.1:1"]'])
def test_one_address_stands_alone_or_in_a_list(tmp_path: Path, written: str) -> None:
    assert load(tmp_path, "server", "listen", written) == ["127.0.0.1:1"]
