"""What `coord server` can be told, with defaults. docs/settings.md is drawn from here, and so are the flags."""

# ruff: noqa: RUF009 - what `setting` gives is a field, not a default

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import attrs

from coordserver.config.address import Address
from coordserver.config.setting import required, setting, setting_of
from coordserver.core.model.access import ENFORCEABLE_SCHEMES, X509
from coordserver.core.model.errors import CoordError
from coordserver.wire.admin.fourletter import WORDS

DEFAULT_LISTEN = Address("127.0.0.1", 2181)
DEFAULT_TICK_TIME_MS = 2_000
TLS_CLIENT_AUTH = ("none", "want", "need")
AUTO = "auto"
MAX_FRAME_BYTES = 2**31 - 1
ALL_WORDS = frozenset(word.decode("ascii") for word in WORDS)
REMOTE_WORDS = frozenset({"srvr", "ruok", "isro"})
"""Words that anybody may say: what scripts and read-only clients need, and nothing about other clients."""

_DAY_MS = 86_400_000


class ConfigError(CoordError):
    """Settings are wrong. The text names every fault, not only the first."""


@attrs.frozen(kw_only=True)
class ServerConfig:
    """Settings of one server. Raises ConfigError naming everything that is wrong."""

    listen: tuple[Address, ...] = setting(
        (DEFAULT_LISTEN,),
        "Where everything is spoken on one port, TLS too if there is a certificate. Port 0: a free one.",
        zoo_key="clientPortAddress, clientPort",
    )
    secure_listen: tuple[Address, ...] = setting(
        (), "Where only TLS is spoken.", zoo_key="secureClientPortAddress, secureClientPort"
    )
    admin_listen: tuple[Address, ...] = setting(
        (), "Where only HTTP is spoken.", zoo_key="admin.serverAddress, admin.serverPort"
    )
    listen_backlog: int = setting(
        1_024,
        "Connections that may wait to be accepted.",
        zoo_key="clientPortListenBacklog",
        least=1,
        most=65_535,
    )
    data_dir: Path = required(
        "Holds log and snapshots; made if its parent exists; one server at a time.", zoo_key="dataDir"
    )
    zookeeper_log_dir: Path | None = setting(
        None,
        "Where a ZooKeeper kept its log apart: only looked at, so that no empty tree is started beside it.",
        zoo_key="dataLogDir",
    )
    tick_time_ms: int = setting(
        DEFAULT_TICK_TIME_MS,
        "It only sets the default bounds of the session timeout, 2 and 20 of it.",
        unit="ms",
        zoo_key="tickTime",
        least=1,
        most=3_600_000,
    )
    session_timeout_min_ms: int = setting(
        0, "Least session timeout; 0: from the tick.", unit="ms", zoo_key="minSessionTimeout", least=0, most=_DAY_MS
    )
    session_timeout_max_ms: int = setting(
        0, "Greatest session timeout; 0: from the tick.", unit="ms", zoo_key="maxSessionTimeout", least=0, most=_DAY_MS
    )
    snapshot_every: int = setting(
        100_000,
        "Records between snapshots. Lower restarts faster and writes more.",
        zoo_key="snapCount",
        least=1,
        most=2**40,
    )
    snapshots_kept: int = setting(
        3,
        "Older ones are removed, and the log that none needs.",
        zoo_key="autopurge.snapRetainCount",
        least=1,
        most=1_000,
    )
    segment_bytes: int = setting(
        64 * 1024 * 1024,
        "Size of a log segment, preallocated.",
        unit="bytes",
        zoo_key="preAllocSize",
        least=64 * 1024,
        most=2**40,
    )
    reserve_bytes: int = setting(
        0,
        "Free space on the disk below which only deletes are taken; 0: what two segments and a snapshot need.",
        unit="bytes",
        least=0,
        most=2**60,
    )
    fsync_warning_ms: int = setting(
        1_000,
        "A sync of the log that takes longer is worth a line.",
        unit="ms",
        zoo_key="fsync.warningthresholdms",
        least=1,
        most=_DAY_MS,
    )
    max_connections: int = setting(
        20_000,
        "Open connections; further ones are closed at once, but for 16 of `admin_listen`. It is lowered to what the "
        "limit of open files leaves.",
        zoo_key="maxCnxns",
        least=1,
        most=1_000_000,
    )
    max_connections_per_address: int = setting(
        0, "The same from one address; 0: no limit.", zoo_key="maxClientCnxns", least=0, most=1_000_000
    )
    outstanding: int = setting(
        1_000,
        "Unanswered requests of a connection, above which it is not read from.",
        zoo_key="globalOutstandingLimit",
        least=1,
        most=1_000_000,
    )
    outstanding_bytes: int = setting(
        16 * 1024 * 1024,
        "The same in bytes, counted from the last time when none was unanswered.",
        unit="bytes",
        least=64 * 1024,
        most=2**40,
    )
    outstanding_total_bytes: int = setting(
        256 * 1024 * 1024,
        "Bytes of unanswered requests of all connections, above which further writes get Throttled.",
        unit="bytes",
        least=1024 * 1024,
        most=2**40,
    )
    outstanding_writes: int = setting(
        100_000,
        "Writes of all connections on their way to the disk, above which further ones get Throttled.",
        least=1_000,
        most=2**30,
    )
    sessions: int = setting(100_000, "Sessions; further ones get Throttled.", least=1, most=2**30)
    watches_per_session: int = setting(200_000, "Watches; further ones get LimitExceeded.", least=1, most=2**30)
    ephemerals_per_session: int = setting(
        10_000, "Ephemerals; further ones get TooManyEphemerals.", least=1, most=1_000_000
    )
    multi_operations: int = setting(
        10_000, "Operations of one multi or multiRead; a longer one gets LimitExceeded.", least=1, most=1_000_000
    )
    children_per_reply: int = setting(
        200_000, "Children of a znode that can be listed; more get LimitExceeded.", least=1, most=2**30
    )
    memory_bytes: int = setting(
        0,
        "Memory of znodes, sessions and watches, above which only deletes are taken; 0: 80 % of what the process may "
        "use.",
        unit="bytes",
        least=0,
        most=2**60,
    )
    frame_bytes: int = setting(
        4 * 1024 * 1024, "Longest request of the native protocol.", unit="bytes", least=1_024, most=MAX_FRAME_BYTES
    )
    jute_frame_bytes: int = setting(
        0xFFFFF,
        "Longest request of ZooKeeper's protocol.",
        unit="bytes",
        zoo_key="jute.maxbuffer",
        least=1_024,
        most=MAX_FRAME_BYTES,
    )
    znode_bytes: int = setting(1024 * 1024, "Largest data of a znode.", unit="bytes", least=0, most=MAX_FRAME_BYTES)
    acl_entries: int = setting(
        256, "Entries of an ACL; a longer one gets LimitExceeded. Stored ones stay.", least=1, most=100_000
    )
    acl_bytes: int = setting(
        16 * 1024, "The same in bytes of its schemes and ids.", unit="bytes", least=256, most=16 * 1024 * 1024
    )
    output_bytes: int = setting(
        16 * 1024 * 1024,
        "Unread answers and events at which a connection is cut off. A multiRead of more data gets LimitExceeded.",
        unit="bytes",
        least=64 * 1024,
        most=2**40,
    )
    output_total_bytes: int = setting(
        0,
        "Unread answers and events of all connections, above which those with the most are cut off; above half of it, "
        "no further requests are read from who does not read; 0: a 32nd of what the process may use, from 64 MiB or "
        "four times output_bytes to 512 MiB.",
        unit="bytes",
        least=0,
        most=2**40,
    )
    input_total_bytes: int = setting(
        0,
        "Unfinished requests of all connections, above which those with the most are cut off; 0: a 32nd of what the "
        "process may use, from 64 MiB or four times the longest request to 512 MiB.",
        unit="bytes",
        least=0,
        most=2**40,
    )
    handshake_ms: int = setting(
        10_000, "How long a new connection may take to say who it is.", unit="ms", least=1, most=_DAY_MS
    )
    stall_ms: int = setting(
        30_000, "How long a connection may leave its answers unread.", unit="ms", least=1, most=_DAY_MS
    )
    stop_ms: int = setting(5_000, "How long a graceful stop waits for clients.", unit="ms", least=0, most=_DAY_MS)
    container_check_ms: int = setting(
        60_000,
        "How often containers and znodes with a TTL are looked through.",
        unit="ms",
        zoo_key="znode.container.checkIntervalMs",
        least=1,
        most=_DAY_MS,
    )
    container_never_used_ms: int = setting(
        300_000,
        "When a container goes that never had a child; 0: never.",
        unit="ms",
        zoo_key="znode.container.maxNeverUsedIntervalMs",
        least=0,
        most=2**40,
    )
    container_per_check: int = setting(
        10_000,
        "Containers and znodes with a TTL removed by one look.",
        zoo_key="znode.container.maxPerMinute",
        least=1,
        most=1_000_000,
    )
    enforce_quota: bool = setting(False, "Hard limits of quotas refuse writes.", zoo_key="enforceQuota")
    super_digest: str = setting(
        "",
        "USER:HASH of the user who may do everything.",
        zoo_key="DigestAuthenticationProvider.superDigest",
        secret=True,
    )
    super_x509: str = setting(
        "", "Subject of the certificate that may do everything.", zoo_key="X509AuthenticationProvider.superUser"
    )
    enforce_auth: str = setting(
        "",
        f"Schemes of {', '.join(sorted(ENFORCEABLE_SCHEMES))}, with commas between: who has proven none is only told "
        "so; empty: anybody is served.",
        zoo_key="enforce.auth.schemes",
    )
    fourletter_whitelist: str = setting(
        AUTO,
        "Four-letter words that are answered, with commas between; *: all; auto: all if every address is loopback, "
        f"else {', '.join(sorted(REMOTE_WORDS))}.",
        zoo_key="4lw.commands.whitelist",
    )
    admin_commands: str = setting(
        AUTO,
        "Whether HTTP has /commands; auto: if every address is loopback.",
        zoo_key="admin.enableServer",
        choices=(AUTO, "on", "off"),
    )
    tls_cert: Path | None = setting(
        None, "PEM file; with tls_key every port takes TLS too.", zoo_key="ssl.keyStore.location"
    )
    tls_key: Path | None = setting(None, "PEM file of the certificate's key.", zoo_key="ssl.keyStore.location")
    tls_key_password: str = setting(
        "", "Of the key's file, if it is encrypted.", zoo_key="ssl.keyStore.password", secret=True
    )
    tls_ca: Path | None = setting(None, "PEM file: who signs clients' certificates.", zoo_key="ssl.trustStore.location")
    tls_client_auth: str = setting(
        "none",
        "Whether a client shows a certificate, whose subject is its identity (scheme x509).",
        zoo_key="ssl.clientAuth",
        choices=TLS_CLIENT_AUTH,
    )

    def __attrs_post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise ConfigError("; ".join(faults))

    @property
    def timeout_bounds_ms(self) -> tuple[int, int]:
        """The least and the greatest session timeout."""
        return (
            self.session_timeout_min_ms or 2 * self.tick_time_ms,
            self.session_timeout_max_ms or 20 * self.tick_time_ms,
        )

    @property
    def local(self) -> bool:
        """Whether only this machine can connect."""
        return all(_is_loopback(address.host) for address in self.listen + self.secure_listen + self.admin_listen)

    @property
    def fourletter_words(self) -> frozenset[str]:
        """The words that are answered."""
        if self.fourletter_whitelist == AUTO:
            return ALL_WORDS if self.local else REMOTE_WORDS
        words = _parts(self.fourletter_whitelist)
        return ALL_WORDS if "*" in words else words

    @property
    def enforced_schemes(self) -> frozenset[str]:
        """Of which a client must have proven one; none: it need not."""
        return _parts(self.enforce_auth)

    @property
    def has_admin_commands(self) -> bool:
        """Whether HTTP has /commands."""
        return self.local if self.admin_commands == AUTO else self.admin_commands == "on"

    def _faults(self) -> Iterator[str]:
        if not self.listen and not self.secure_listen:
            yield "listen: at least one address is needed"
        for attribute in attrs.fields(ServerConfig):
            known, value = setting_of(attribute), getattr(self, attribute.name)
            if known.least is not None and known.most is not None and not known.least <= value <= known.most:
                yield f"{attribute.name}: {value} is not from {known.least} to {known.most}"
            if known.choices and value not in known.choices:
                yield f"{attribute.name}: {value!r} is not one of {', '.join(known.choices)}"
        low, high = self.timeout_bounds_ms
        if low > high:
            yield f"session timeouts: the least, {low} ms, is above the greatest, {high} ms"
        if self.znode_bytes > self.frame_bytes:
            yield f"znode_bytes: {self.znode_bytes} is above frame_bytes, {self.frame_bytes}"
        if 0 < self.output_total_bytes < self.output_bytes:
            yield f"output_total_bytes: {self.output_total_bytes} is below output_bytes, {self.output_bytes}"
        longest = max(self.frame_bytes, self.jute_frame_bytes)
        if 0 < self.input_total_bytes < longest:
            yield f"input_total_bytes: {self.input_total_bytes} is below the longest request, {longest}"
        if self.fourletter_whitelist != AUTO:
            unknown = _parts(self.fourletter_whitelist) - ALL_WORDS - {"*"}
            if unknown:
                yield f"fourletter_whitelist: no such words: {', '.join(sorted(unknown))}"
        unknown = self.enforced_schemes - ENFORCEABLE_SCHEMES
        if unknown:
            yield f"enforce_auth: no such schemes: {', '.join(sorted(unknown))}"
        yield from self._tls_faults()

    def _tls_faults(self) -> Iterator[str]:
        if self.tls_client_auth in TLS_CLIENT_AUTH[1:] and self.tls_ca is None:
            yield f"tls_client_auth: {self.tls_client_auth} needs tls_ca"
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls_cert and tls_key go together"
        if self.tls_ca is None and self.enforced_schemes == {X509}:
            yield f"enforce_auth: {X509} needs tls_ca"
        if self.tls_ca is not None and self.tls_cert is None:
            yield "tls_ca needs tls_cert and tls_key"
        if self.secure_listen and self.tls_cert is None:
            yield "secure_listen needs tls_cert and tls_key"


def _parts(text: str) -> frozenset[str]:
    return frozenset(word.strip() for word in text.split(",")) - {""}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
