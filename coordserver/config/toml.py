"""Settings from a TOML file: a table per command, keys named as the command's flags with underscores.

[server]
listen = "127.0.0.1:2181"
data_dir = "/var/lib/coord"

[druid.historical]
port = 8083
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from coordserver.config.server import ConfigError


def load_toml(path: Path) -> dict[str, Any]:
    """The file's tables. Raises ConfigError for a file that cannot be read; which keys are known, commands tell."""
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from error
