"""What `coord server` can be told, with defaults. Bytes and milliseconds unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from attrs import frozen

from coordserver.config.address import Address
from coordserver.core.errors import CoordError

DEFAULT_LISTEN = Address("127.0.0.1", 2181)
DEFAULT_TICK_TIME_MS = 2_000
TLS_CLIENT_AUTH = ("none", "want", "need")


class ConfigError(CoordError):
    """Settings are wrong. The text names every fault, not only the first."""


@frozen(kw_only=True)
class ServerConfig:
    """Settings of one server. Raises ConfigError naming everything that is wrong.

    - `listen`: where the one port is opened; several addresses are allowed.
    - `data_dir`: holds log and snapshots; made if its parent exists; one server at a time.
    - `tick_time_ms`: ZooKeeper's tickTime. It only sets the default bounds of the session timeout, 2 and 20 of it.
    - `session_timeout_min_ms`, `session_timeout_max_ms`: bounds of what clients may ask for; 0: from the tick.
    - `snapshot_every`: records between snapshots. Lower restarts faster and writes more.
    - `snapshots_kept`: older ones, and the log that none of them needs, are removed.
    - `segment_bytes`: size of a log segment, preallocated.
    - `max_connections`: accepted at once; further ones are closed at once.
    - `outstanding`: unanswered requests of one connection, above which it is not read from.
    - `frame_bytes`, `znode_bytes`: the longest request and the largest data of a znode.
    - `output_bytes`: unread answers and events at which a connection is cut off.
    - `handshake_ms`: how long a new connection may take to say who it is.
    - `stall_ms`: how long a connection may have unread output without reading any of it.
    - `super_digest`: `user:hash` of the user who may do everything (DigestAuthenticationProvider.superDigest).
    - `enforce_quota`: hard limits of quotas refuse writes, as ZooKeeper's enforceQuota.
    - `tls_cert`, `tls_key`: PEM files; with them the port takes TLS too. `tls_ca`: who signs clients' certificates.
    - `tls_client_auth`: none, want or need a client's certificate, whose subject is its identity (scheme x509).
    - `super_x509`: the subject that may do everything (X509AuthenticationProvider.superUser).
    - `stop_ms`: how long a graceful stop waits for requests in flight and for clients to read their answers.
    """

    listen: tuple[Address, ...] = (DEFAULT_LISTEN,)
    data_dir: Path
    tick_time_ms: int = DEFAULT_TICK_TIME_MS
    session_timeout_min_ms: int = 0
    session_timeout_max_ms: int = 0
    snapshot_every: int = 100_000
    snapshots_kept: int = 3
    segment_bytes: int = 64 * 1024 * 1024
    max_connections: int = 20_000
    outstanding: int = 1_000
    frame_bytes: int = 4 * 1024 * 1024
    znode_bytes: int = 1024 * 1024
    output_bytes: int = 16 * 1024 * 1024
    handshake_ms: int = 10_000
    stall_ms: int = 30_000
    stop_ms: int = 5_000
    super_digest: str = ""
    super_x509: str = ""
    enforce_quota: bool = False
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    tls_client_auth: str = "none"

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

    def _faults(self) -> Iterator[str]:
        if not self.listen:
            yield "listen: at least one address is needed"
        for name, least, most in _RANGES:
            value = getattr(self, name)
            if not least <= value <= most:
                yield f"{name}: {value} is not from {least} to {most}"
        low, high = self.timeout_bounds_ms
        if low > high:
            yield f"session timeouts: the least, {low} ms, is above the greatest, {high} ms"
        if self.tls_client_auth not in TLS_CLIENT_AUTH:
            yield f"tls_client_auth: {self.tls_client_auth!r} is not one of {', '.join(TLS_CLIENT_AUTH)}"
        elif self.tls_client_auth != "none" and self.tls_ca is None:
            yield f"tls_client_auth: {self.tls_client_auth} needs tls_ca"
        if (self.tls_cert is None) != (self.tls_key is None):
            yield "tls_cert and tls_key go together"
        if self.tls_ca is not None and self.tls_cert is None:
            yield "tls_ca needs tls_cert and tls_key"
        if self.znode_bytes > self.frame_bytes:
            yield f"znode_bytes: {self.znode_bytes} is above frame_bytes, {self.frame_bytes}"


_DAY_MS = 86_400_000
_RANGES: tuple[tuple[str, int, int], ...] = (
    ("tick_time_ms", 1, 3_600_000),
    ("session_timeout_min_ms", 0, _DAY_MS),
    ("session_timeout_max_ms", 0, _DAY_MS),
    ("snapshot_every", 1, 2**40),
    ("snapshots_kept", 1, 1_000),
    ("segment_bytes", 64 * 1024, 2**40),
    ("max_connections", 1, 1_000_000),
    ("outstanding", 1, 1_000_000),
    ("frame_bytes", 1_024, 2**31 - 1),
    ("znode_bytes", 0, 2**31 - 1),
    ("output_bytes", 64 * 1024, 2**40),
    ("handshake_ms", 1, _DAY_MS),
    ("stall_ms", 1, _DAY_MS),
    ("stop_ms", 0, _DAY_MS),
)
