"""The file of settings, TOML or ZooKeeper's zoo.cfg, as defaults of the commands that it speaks of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from cli.config_types import typed
from coordserver.config.server import ConfigError
from coordserver.config.toml import load_toml
from coordserver.config.zoo_cfg import load_zoo_cfg

WARNINGS = "coord.config.warnings"
"""Where a click context keeps the lines that are to be logged once logging is set up."""

_TOML_SUFFIX = ".toml"
_PROPERTIES_SUFFIXES = (".cfg", ".properties")
_TABLE = re.compile(r"^\s*\[", re.MULTILINE)


def load_for_root(ctx: click.Context, path: Path) -> dict[str, Any]:
    """Tables by command. Raises UsageError for a file that cannot be read, or with keys that no command knows."""
    try:
        if is_zoo_cfg(path):
            return {"server": _zoo_cfg(ctx, path)}
        tables = load_toml(path)
    except ConfigError as fault:
        raise click.UsageError(str(fault)) from None
    root = ctx.find_root()
    unknown = list(_unknown_keys(root, root.command, tables, ""))
    if unknown:
        raise click.UsageError(f"{path}: unknown keys: {', '.join(unknown)}")
    faults: list[str] = []
    found: dict[str, Any] = typed(root.command, root, tables, "", faults)
    if faults:
        raise click.UsageError(f"{path}: {'; '.join(faults)}")
    return found


def load_for_server(ctx: click.Context, path: Path) -> dict[str, Any]:
    """What the file says of `coord server`."""
    tables = load_for_root(ctx, path)
    server: dict[str, Any] = tables.get("server", {})
    return server


def is_zoo_cfg(path: Path) -> bool:
    """By its name, else by its content: TOML for commands has tables, Java's properties have none.

    Raises ConfigError for a file that cannot be read.
    """
    if path.suffix == _TOML_SUFFIX:
        return False
    if path.suffix in _PROPERTIES_SUFFIXES:
        return True
    try:
        return _TABLE.search(path.read_text("latin-1")) is None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _zoo_cfg(ctx: click.Context, path: Path) -> dict[str, Any]:
    found = load_zoo_cfg(path)
    lines = [f"{path}: {remark}" for remark in found.remarks]
    if found.ignored:
        lines.insert(0, f"{path}: keys that mean nothing here: {', '.join(found.ignored)}")
    ctx.meta[WARNINGS] = lines
    return dict(found.settings)


def _unknown_keys(ctx: click.Context, command: click.Command, table: dict[str, Any], prefix: str) -> list[str]:
    known = {param.name for param in command.params} - {"config"}
    unknown: list[str] = []
    for key, value in table.items():
        inner = command.get_command(ctx, key) if isinstance(command, click.Group) else None
        if inner is not None and isinstance(value, dict):
            unknown += _unknown_keys(ctx, inner, value, f"{prefix}{key}.")
        elif key not in known or isinstance(value, dict):
            unknown.append(prefix + key)
    return unknown
