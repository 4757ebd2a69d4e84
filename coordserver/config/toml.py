"""Settings from a TOML file: a table per command, keys named as the command's flags with underscores.

[server]
listen = "127.0.0.1:2181"
data_dir = "/var/lib/coord"

[druid.historical]
port = 8083
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from coordserver.config.server import ConfigError


def load_table(path: Path, section: Sequence[str], known: Collection[str]) -> dict[str, Any]:
    """The table of `section`, empty if it is not there. Raises ConfigError for a bad file or keys not in `known`."""
    try:
        with path.open("rb") as file:
            table: Any = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for name in section:
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: {'.'.join(section)} is not a table")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise ConfigError(f"{path}: [{'.'.join(section)}] has unknown keys: {', '.join(unknown)}")
    return dict(table)
