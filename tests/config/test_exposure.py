"""What strangers may ask depends on who can connect."""

from __future__ import annotations

from pathlib import Path

import pytest

from coordserver.config.address import Address
from coordserver.config.server import ALL_WORDS, REMOTE_WORDS, ConfigError, ServerConfig

LOCAL, REMOTE = Address("127.0.0.1", 0), Address("0.0.0.0", 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_everything_on_loopback(host: str) -> None:
    config = ServerConfig(data_dir=Path("d"), listen=(Address(host, 1),))
    assert (config.fourletter_words, config.has_admin_commands) == (ALL_WORDS, True)
    assert len(ALL_WORDS) == 17


@pytest.mark.parametrize("where", ["listen", "secure_listen", "admin_listen"])
def test_little_as_soon_as_one_address_is_not(where: str) -> None:
    addresses = {"listen": (LOCAL,), where: (LOCAL, REMOTE)}
    config = ServerConfig(data_dir=Path("d"), tls_cert=Path("c"), tls_key=Path("c"), **addresses)  # type: ignore[arg-type]
    assert (config.fourletter_words, config.has_admin_commands) == (REMOTE_WORDS, False)


def test_unless_it_is_said() -> None:
    def config(words: str, commands: str) -> ServerConfig:
        return ServerConfig(data_dir=Path("d"), listen=(REMOTE,), fourletter_whitelist=words, admin_commands=commands)

    assert config("*", "on").fourletter_words == ALL_WORDS
    assert config("*", "on").has_admin_commands
    assert config(" stat ,mntr,", "off").fourletter_words == {"stat", "mntr"}
    assert not config("", "off").has_admin_commands
    assert config("", "off").fourletter_words == set()
    with pytest.raises(ConfigError, match=r"fourletter_whitelist: no such words: kill; admin_commands|admin_commands"):
        config("kill", "perhaps")


def test_addresses_that_only_speak_tls_need_a_certificate() -> None:
    with pytest.raises(ConfigError, match="secure_listen needs tls_cert"):
        ServerConfig(data_dir=Path("d"), secure_listen=(LOCAL,))
    with pytest.raises(ConfigError, match="at least one address"):
        ServerConfig(data_dir=Path("d"), listen=(), admin_listen=(LOCAL,))
