"""Settings: all faults at once; addresses; TOML."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordserver.config.address import Address
from coordserver.config.server import ConfigError, ServerConfig
from coordserver.config.toml import load_toml


def test_defaults_hold(tmp_path: Path) -> None:
    config = ServerConfig(data_dir=tmp_path)
    assert config.timeout_bounds_ms == (4_000, 40_000)
    assert [str(address) for address in config.listen] == ["127.0.0.1:2181"]


def test_every_fault_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        ServerConfig(
            data_dir=tmp_path, listen=(), snapshot_every=0, session_timeout_min_ms=9_000, session_timeout_max_ms=8_000
        )
    for name in ("listen", "snapshot_every", "session timeouts"):
        assert name in str(caught.value)


@pytest.mark.parametrize("text", ["127.0.0.1:2181", "localhost:0", "[::1]:65535"])
def test_addresses_round_trip(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", ["", "2181", ":2181", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r":|HOST"):
        Address.parse(text)


def test_toml_tables(tmp_path: Path) -> None:
    path = tmp_path / "coord.toml"
    path.write_text('[server]\ndata_dir = "d"\n[druid.broker]\nport = 1\n')
    assert load_toml(path) == {"server": {"data_dir": "d"}, "druid": {"broker": {"port": 1}}}


@pytest.mark.parametrize("text", ["[server", b"\xff"])
def test_bad_toml_is_refused(tmp_path: Path, text: str | bytes) -> None:
    path = tmp_path / "coord.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"coord\.toml"):
        load_toml(path)
    with pytest.raises(ConfigError, match="No such file"):
        load_toml(tmp_path / "none.toml")
