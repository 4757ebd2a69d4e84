"""What a value of zoo.cfg means, also one that is odd: negative, zero, empty, too large, not a number.

ZooKeeper takes keys in two ways. Those that QuorumPeerConfig knows must be numbers, or it does not start (`strict`).
All others become system properties, where what is no number is passed over for the default. Many numbers are corrected
without a fault: each key says below what (`floor`), and what is taken instead. A correction that changes what the
operator asked for gives a remark, which the server logs at its start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs
from attrs import frozen

from coordserver.config.server import ConfigError, ServerConfig
from coordserver.config.setting import setting_of

_DECIMAL = re.compile(r"[+-]?[0-9]+")
_HEXADECIMAL = re.compile(r"([+-]?)0[xX]([0-9a-fA-F]+)")
_FIELDS = attrs.fields_dict(ServerConfig)


class Reading(NamedTuple):
    """`value` of the setting, None for its default; `remark` where it is not what the file says."""

    value: Any
    remark: str = ""


@frozen(kw_only=True)
class Number:
    """A key that is a number, and the setting that it becomes.

    `strict`: ZooKeeper refuses what is no number. `floor`: the least number that is taken as it is, by default the
    setting's own; what is below becomes `low` (None: the setting's default), or is refused. `silent`: what is below
    means just `low` in ZooKeeper too, so there is nothing to remark.
    """

    key: str
    setting: str
    strict: bool = False
    floor: int | None = None
    low: int | None = None
    silent: bool = False
    refused_below: bool = False
    scale: int = 1

    def read(self, written: str) -> Reading:
        """Raises ConfigError, which names the key."""
        found = parse_integer(written)
        if found is None:
            if self.strict:
                raise ConfigError(f"{self.key}: {written!r} is not a number")
            return self._corrected(written, None, "it is not a number")
        known = setting_of(_FIELDS[self.setting])
        assert known.least is not None
        assert known.most is not None
        number = found * self.scale
        floor = known.least if self.floor is None else self.floor * self.scale
        if number < floor:
            if self.refused_below:
                raise ConfigError(f"{self.key}: {written} is below {floor // self.scale}")
            if self.silent:
                return Reading(self.low)
            return self._corrected(written, self.low, f"the least is {-(-floor // self.scale)}")
        if number > known.most:
            return self._corrected(written, known.most, f"the greatest is {known.most // self.scale}")
        return Reading(number)

    def _corrected(self, written: str, value: int | None, why: str) -> Reading:
        used = _FIELDS[self.setting].default if value is None else value
        return Reading(value, f"{self.key}={written}: {why}; {self.setting} = {used} is used")


def parse_integer(text: str) -> int | None:
    """As Java's Integer.decode without octal: decimal, or hexadecimal with 0x. None for anything else."""
    if _DECIMAL.fullmatch(text):
        return int(text)
    found = _HEXADECIMAL.fullmatch(text)
    return int(found[1] + found[2], 16) if found is not None else None


def integer(key: str, text: str) -> int:
    """A number that must be one. Raises ConfigError, which names the key."""
    found = parse_integer(text)
    if found is None:
        raise ConfigError(f"{key}: {text!r} is not a number")
    return found


def quota_flag(key: str, text: str) -> Reading:
    """As Java's Boolean.parseBoolean: only `true` is true, in any case."""
    value = text.lower() == "true"
    if value or text.lower() == "false":
        return Reading(value)
    return Reading(value, f"{key}={text}: only true is true to ZooKeeper; it is off")


def admin_flag(key: str, text: str) -> Reading:
    """ZooKeeper turns its AdminServer off for `false` only. What an operator may mean by no is off here, too."""
    value = text.lower() not in ("false", "no", "off", "0")
    if text.lower() in ("true", "false"):
        return Reading(value)
    return Reading(value, f"{key}={text}: it is neither true nor false; it is taken for {'on' if value else 'off'}")


NUMBERS: tuple[Number, ...] = (
    Number(key="tickTime", setting="tick_time_ms", strict=True, refused_below=True),
    Number(key="maxClientCnxns", setting="max_connections_per_address", strict=True, low=0, silent=True),
    Number(key="maxCnxns", setting="max_connections", silent=True),
    Number(key="clientPortListenBacklog", setting="listen_backlog", strict=True, silent=True),
    Number(key="globalOutstandingLimit", setting="outstanding", low=1),
    Number(key="snapCount", setting="snapshot_every", floor=2, low=2),
    Number(key="autopurge.snapRetainCount", setting="snapshots_kept", strict=True, floor=3, low=3),
    Number(key="fsync.warningthresholdms", setting="fsync_warning_ms", low=1, silent=True),
    Number(key="jute.maxbuffer", setting="jute_frame_bytes"),
    Number(key="znode.container.checkIntervalMs", setting="container_check_ms"),
    Number(key="znode.container.maxNeverUsedIntervalMs", setting="container_never_used_ms", low=0, silent=True),
    Number(key="znode.container.maxPerMinute", setting="container_per_check"),
)
"""Keys that are one number each, but for those below."""


def session_timeout(key: str, setting: str, written: str) -> Reading:
    """-1 is the default. ZooKeeper's least timeout of 0 or below bounds nothing; such a greatest one lets nobody in."""
    number = integer(key, written)
    known = setting_of(_FIELDS[setting])
    assert known.most is not None
    if number == -1:
        return Reading(None)
    if number < 1:
        if setting == "session_timeout_max_ms":
            raise ConfigError(f"{key}: {written} is below 1")
        return Reading(1)
    if number > known.most:
        return Reading(known.most, f"{key}={written}: the greatest is {known.most}; {setting} = {known.most} is used")
    return Reading(number)


def segment_size(key: str, written: str) -> Reading:
    """preAllocSize, in KiB. 0 reserves nothing ahead in ZooKeeper; here it is the size of a segment, too."""
    known = setting_of(_FIELDS["segment_bytes"])
    assert known.least is not None
    number = parse_integer(written)
    if number is None or number < 1:
        return Number(key=key, setting="segment_bytes", floor=1, scale=1024).read(written)
    return Number(key=key, setting="segment_bytes", low=known.least, scale=1024).read(written)


TEXTS: Mapping[str, str] = {
    "dataDir": "data_dir",
    "DigestAuthenticationProvider.superDigest": "super_digest",
    "X509AuthenticationProvider.superUser": "super_x509",
}
"""Keys that are text, and their settings."""
