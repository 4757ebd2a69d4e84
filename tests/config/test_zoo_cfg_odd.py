"""Every number of zoo.cfg with odd values: what ZooKeeper starts with starts here, with its meaning or a remark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from coordserver.config.address import Address
from coordserver.config.server import ConfigError, ServerConfig
from coordserver.config.setting import setting_of
from coordserver.config.zoo_cfg import ZooCfg, load_zoo_cfg
from coordserver.config.zoo_values import NUMBERS, TEXTS

Reads = Callable[[str], ZooCfg]
ODD = ["-2", "-1", "0", "1", "+5", "2147483647", "-2147483648", "99999999999", "0x10", "", "abc", "1.5", "1_000", "5 "]
TIMEOUTS = {"minSessionTimeout": "session_timeout_min_ms", "maxSessionTimeout": "session_timeout_max_ms"}
KEYS = {number.key: number.setting for number in NUMBERS} | TIMEOUTS | {"preAllocSize": "segment_bytes"}
STRICT = {number.key for number in NUMBERS if number.strict} | set(TIMEOUTS)
"""QuorumPeerConfig parses these itself: what is no number keeps a ZooKeeper from starting, too."""


@pytest.fixture
def read(tmp_path: Path) -> Reads:
    """Read a zoo.cfg of these lines, behind what every file needs."""

    def from_text(text: str) -> ZooCfg:
        path = tmp_path / "zoo.cfg"
        path.write_text(f"dataDir=/d\nclientPort=1\nclientPortAddress=127.0.0.1\n{text}\n")
        return load_zoo_cfg(path)

    return from_text


def configured(found: ZooCfg) -> ServerConfig:
    settings: dict[str, Any] = dict(found.settings)
    for name in ("listen", "secure_listen", "admin_listen"):
        settings[name] = tuple(map(Address.parse, settings.get(name, ())))
    settings["data_dir"] = Path(settings["data_dir"])
    return ServerConfig(**settings)


@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("key", KEYS)
def test_a_number_starts_or_is_refused_by_name(read: Reads, key: str, value: str) -> None:
    """Either what is used is what was written, or a remark names it, or it is ZooKeeper's own meaning of the number."""
    try:
        found = read(f"{key}={value}")
        config = configured(found)
    except ConfigError as refused:
        fault = str(refused)
    else:
        fault = ""
    if fault:
        assert key in STRICT
        assert key in fault or "session timeouts" in fault
        return
    used = getattr(config, KEYS[key])
    known = setting_of(attrs.fields_dict(ServerConfig)[KEYS[key]])
    assert known.least is not None
    assert known.most is not None
    assert known.least <= used <= known.most
    assert found.ignored == ()
    remarks = [remark for remark in found.remarks if remark.startswith(f"{key}={value.strip()}: ")]
    assert len(found.remarks) == len(remarks)
    if not remarks:
        written = int(value, 16 if "x" in value else 10) * (1024 if key == "preAllocSize" else 1)
        assert used == written or written <= 0, "changed without a word"


MEANINGS: list[tuple[str, str, Any, bool]] = [
    ("maxClientCnxns=-1", "max_connections_per_address", 0, False),
    ("autopurge.snapRetainCount=0", "snapshots_kept", 3, True),
    ("autopurge.snapRetainCount=2", "snapshots_kept", 3, True),
    ("snapCount=0", "snapshot_every", 2, True),
    ("snapCount=-7", "snapshot_every", 2, True),
    ("snapCount=many", "snapshot_every", 100_000, True),
    ("preAllocSize=1", "segment_bytes", 64 * 1024, True),
    ("preAllocSize=63", "segment_bytes", 64 * 1024, True),
    ("preAllocSize=64", "segment_bytes", 64 * 1024, False),
    ("preAllocSize=0", "segment_bytes", 64 * 1024 * 1024, True),
    ("globalOutstandingLimit=0", "outstanding", 1, True),
    ("fsync.warningthresholdms=0", "fsync_warning_ms", 1, False),
    ("znode.container.checkIntervalMs=0", "container_check_ms", 60_000, True),
    ("znode.container.maxPerMinute=0", "container_per_check", 10_000, True),
    ("znode.container.maxNeverUsedIntervalMs=0", "container_never_used_ms", 0, False),
    ("znode.container.maxNeverUsedIntervalMs=-1", "container_never_used_ms", 0, False),
    ("minSessionTimeout=0", "session_timeout_min_ms", 1, False),
    ("minSessionTimeout=-1", "session_timeout_min_ms", 0, False),
    ("maxSessionTimeout=2147483647", "session_timeout_max_ms", 86_400_000, True),
    ("enforceQuota=yes", "enforce_quota", False, True),
    ("enforceQuota=no", "enforce_quota", False, True),
    ("enforceQuota=TRUE", "enforce_quota", True, False),
    ("enforceQuota=", "enforce_quota", False, True),
    ("admin.enableServer=no", "admin_commands", "off", True),
    ("admin.enableServer=yes", "admin_commands", "on", True),
    ("admin.enableServer=False", "admin_commands", "off", False),
    ("admin.enableServer=off", "admin_commands", "off", True),
    ("admin.serverPort=", "admin_listen", (), True),
]


@pytest.mark.parametrize(("line", "setting", "value", "remarked"), MEANINGS)
def test_what_an_odd_value_means(read: Reads, line: str, setting: str, value: Any, remarked: bool) -> None:
    found = read(line)
    assert getattr(configured(found), setting) == value
    assert [remark.partition(": ")[0] for remark in found.remarks] == ([line] if remarked else [])


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("spell", [str.lower, str.upper, lambda key: f"zookeeper.{key}", lambda key: f" {key} "])
def test_the_spelling_of_a_key_makes_no_difference(read: Reads, key: str, spell: Callable[[str], str]) -> None:
    value = "7000"
    assert getattr(configured(read(f"{spell(key)}= {value}")), KEYS[key]) == getattr(
        configured(read(f"{key}={value}")), KEYS[key]
    )


@pytest.mark.parametrize("key", [key for key in TEXTS if key != "dataDir"])
def test_an_empty_text_is_none(read: Reads, key: str) -> None:
    assert getattr(configured(read(f"{key}=")), TEXTS[key]) == ""


@pytest.mark.parametrize(
    ("lines", "addresses"),
    [
        ("clientPort=2181", ["[::]:2181"]),
        ("clientPort=2181\nclientPortAddress=", ["127.0.0.1:2181"]),
        ("clientPort=2181\nclientPortAddress=::", ["[::]:2181"]),
        ("clientPort=2181\nclientPortAddress=[::1]", ["[::1]:2181"]),
        ("clientPort=2181\nclientPortAddress=0.0.0.0\nsecureClientPort=0", ["0.0.0.0:2181"]),
        ("clientPort=2181\nadmin.serverPort=8080", ["[::]:2181", "0.0.0.0:8080"]),
        ("clientPort=2181\nadmin.serverPort=8080\nadmin.serverAddress=", ["[::]:2181", "127.0.0.1:8080"]),
    ],
)
def test_where_a_server_listens(tmp_path: Path, lines: str, addresses: list[str]) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir=/d\n{lines}\n")
    config = configured(load_zoo_cfg(path))
    assert [*map(str, config.listen + config.secure_listen + config.admin_listen)] == addresses


def test_a_plain_port_of_0_beside_a_secure_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=/d\nclientPort=0\nsecureClientPort=7\nssl.keyStore.location=/k.pem\n")
    assert (load_zoo_cfg(path).settings["listen"], load_zoo_cfg(path).settings["secure_listen"]) == ([], ["[::]:7"])


@pytest.mark.parametrize("key", ["clientPort", "secureClientPort", "admin.serverPort"])
@pytest.mark.parametrize("port", ["-1", "65536", "99999999999"])
def test_what_is_no_port_is_refused_by_name(tmp_path: Path, key: str, port: str) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text(f"dataDir=/d\n{'' if key == 'clientPort' else 'clientPort=1'}\n{key}={port}\n")
    with pytest.raises(ConfigError, match=f"{key}: {port} is not a port"):
        load_zoo_cfg(path)


def test_an_empty_data_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "zoo.cfg"
    path.write_text("dataDir=\nclientPort=1\n")
    with pytest.raises(ConfigError, match="dataDir: it is empty"):
        load_zoo_cfg(path)
