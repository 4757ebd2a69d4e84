"""ZooKeeper's zoo.cfg, read as it is: a file of Java properties, whose keys become settings of ours.

Every key that has a meaning here is honoured; a key that only says what this server does anyway is passed over; all
others are named, so that nobody believes in a setting that does nothing. Where ZooKeeper's default differs from ours
and its users would notice, the file gets ZooKeeper's. The keys may have the prefix `zookeeper.` of the system
properties that they become there.

An ensemble is refused: to start one of its members alone would split it. So is a demand for SASL, which nobody could
meet: to serve everybody instead would open what the file closes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from coordserver.config.properties import parse_properties
from coordserver.config.server import ALL_WORDS, AUTO, MAX_FRAME_BYTES, ConfigError
from coordserver.config.zoo_values import (
    NUMBERS,
    TEXTS,
    Reading,
    admin_flag,
    integer,
    parse_integer,
    quota_flag,
    segment_size,
    session_timeout,
)

PREFIX = "zookeeper."
ANY_HOST = "::"
"""Every address, IPv4 and IPv6, as Java's wildcard."""
ANY_IPV4_HOST = "0.0.0.0"
_LOOPBACK = "127.0.0.1"
_DURATION = re.compile(r"[0-9]+(ms|s|m|h|d)")
_PROMETHEUS = "org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider"
_X509 = "org.apache.zookeeper.server.auth.X509AuthenticationProvider"
_PEM_SUFFIX = ".pem"

ZOOKEEPER_DEFAULTS: Mapping[str, Any] = {"tick_time_ms": 3_000, "max_connections_per_address": 60}
"""ZooKeeper's, where the file says nothing and ours are other."""

_AS_IT_IS: Mapping[str, frozenset[str]] = {
    "forcesync": frozenset({"yes", "true"}),
    "extendedtypesenabled": frozenset({"true"}),
    "skipacl": frozenset({"no", "false"}),
    "standaloneenabled": frozenset({"true"}),
    "reconfigenabled": frozenset({"false"}),
    "localsessionsenabled": frozenset({"false"}),
    "readonlymode.enabled": frozenset({"false"}),
    "client.portunification": frozenset({"true"}),
    "client.certreload": frozenset({"true"}),
    "admin.portunification": frozenset({"true"}),
    "admin.commandurl": frozenset({"/commands"}),
    "ssl.keystore.type": frozenset({"pem"}),
    "ssl.truststore.type": frozenset({"pem"}),
    "metricsprovider.classname": frozenset({"org.apache.zookeeper.metrics.impl.defaultmetricsprovider"}),
    "peertype": frozenset({"participant"}),
}
"""Values of keys, both in lower case, that say what this server does anyway."""


@frozen
class ZooCfg:
    """What a file says: `settings` by the names of ServerConfig, as a TOML file would have them; `ignored` keys.

    `remarks`: a line for each value that was corrected.
    """

    settings: Mapping[str, Any]
    ignored: tuple[str, ...]
    remarks: tuple[str, ...] = ()


def load_zoo_cfg(path: Path) -> ZooCfg:
    """Read a file. Raises ConfigError naming the file and what is wrong with it."""
    try:
        return _Reader(_read(path)).read()
    except ConfigError as fault:
        raise ConfigError(f"{path}: {fault}") from None


def _read(path: Path) -> dict[str, str]:
    try:
        return parse_properties(path.read_text("latin-1"))
    except OSError as error:
        raise ConfigError(error.strerror or str(error)) from None


class _Reader:
    """Takes keys out of the file until only those are left that mean nothing here."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        self._left: dict[str, tuple[str, str]] = {}
        for key, value in properties.items():
            self._left[key.strip().removeprefix(PREFIX).lower()] = (key.strip(), value.strip())
        self._settings: dict[str, Any] = {}
        self._dropped: list[str] = []
        self._remarks: list[str] = []

    def read(self) -> ZooCfg:
        member = self._membership()
        for key, name in TEXTS.items():
            text = self._take(key)
            if text is not None:
                self._settings[name] = text
        if self._settings.get("data_dir") == "":
            raise ConfigError("dataDir: it is empty")
        self._numbers()
        self._addresses(member)
        self._administration()
        self._enforced_auth()
        self._words()
        self._sizes()
        self._tls()
        self._directories()
        settings = {**ZOOKEEPER_DEFAULTS, **self._settings}
        return ZooCfg(settings, (*self._dropped, *self._rest()), tuple(self._remarks))

    def _take(self, key: str) -> str | None:
        found = self._left.pop(key.lower(), None)
        return found[1] if found is not None else None

    def _number(self, key: str) -> int | None:
        value = self._take(key)
        return None if value is None else integer(key, value)

    def _note(self, name: str, reading: Reading) -> None:
        if reading.value is not None:
            self._settings[name] = reading.value
        if reading.remark:
            self._remarks.append(reading.remark)

    def _numbers(self) -> None:
        for number in NUMBERS:
            value = self._take(number.key)
            if value is not None:
                self._note(number.setting, number.read(value))
        for key, name in (
            ("minSessionTimeout", "session_timeout_min_ms"),
            ("maxSessionTimeout", "session_timeout_max_ms"),
        ):
            value = self._take(key)
            if value is not None:
                self._note(name, session_timeout(key, name, value))
        value = self._take("preAllocSize")
        if value is not None:
            self._note("segment_bytes", segment_size("preAllocSize", value))
        value = self._take("enforceQuota")
        if value is not None:
            self._note("enforce_quota", quota_flag("enforceQuota", value))

    def _rest(self) -> Iterator[str]:
        for key, (written, value) in self._left.items():
            if key.startswith("authprovider.") and value == _X509:
                continue
            if value.lower() not in _AS_IT_IS.get(key, ()):
                yield written

    def _membership(self) -> str:
        """The client address that the only server line names, if any. Raises ConfigError for an ensemble."""
        servers = self._servers()
        dynamic = self._take("dynamicConfigFile")
        if dynamic is not None:
            try:
                servers |= _Reader(_read(Path(dynamic)))._servers()
            except ConfigError as fault:
                raise ConfigError(f"dynamicConfigFile {dynamic}: {fault}") from None
        if len(servers) > 1:
            raise ConfigError(
                f"{', '.join(sorted(servers))}: several servers make an ensemble, of which this version cannot be "
                "part; leave at most one of these lines"
            )
        return next(iter(servers.values()), "").partition(";")[2]

    def _servers(self) -> dict[str, str]:
        keys = [key for key in self._left if key.startswith("server.") and key.removeprefix("server.").isdigit()]
        return {key: self._left.pop(key)[1] for key in keys}

    def _addresses(self, member: str) -> None:
        """`member`: [HOST:]PORT of the server line, which counts where the file names no port itself."""
        host, port = self._take("clientPortAddress"), self._number("clientPort")
        secure_host, secure_port = self._take("secureClientPortAddress"), self._number("secureClientPort")
        if port is None and member:
            plain, _, secure = member.partition(";")
            named, _, digits = plain.rpartition(":")
            host, port = named or host, integer("server.N", digits)
            if secure and secure_port is None:
                named, _, digits = secure.rpartition(":")
                secure_host, secure_port = named or secure_host, integer("server.N", digits)
        if not secure_port:
            secure_port = None  # 0 is ZooKeeper's word for none
        elif not port:
            port = None
        self._settings["listen"] = [_address("clientPort", host, port)] if port is not None else []
        if secure_port is not None:
            self._settings["secure_listen"] = [_address("secureClientPort", secure_host, secure_port)]
        if port is None and secure_port is None:
            raise ConfigError("neither clientPort nor secureClientPort")

    def _administration(self) -> None:
        """AdminServer, and the metrics provider of Prometheus: where they were to listen, only HTTP is spoken."""
        addresses: list[str] = []
        enabled = self._take("admin.enableServer")
        host, written = self._take("admin.serverAddress"), self._take("admin.serverPort")
        port = parse_integer(written) if written is not None else None
        if written is not None and port is None:
            self._remarks.append(f"admin.serverPort={written}: it is not a number; no port of its own is opened")
        if enabled is not None:
            on = admin_flag("admin.enableServer", enabled)
            self._note("admin_commands", Reading("on" if on.value else "off", on.remark))
        if port is not None and self._settings.get("admin_commands") != "off":
            addresses.append(_address("admin.serverPort", host, port, ANY_IPV4_HOST))
        if self._left.get("metricsprovider.classname", ("", ""))[1] == _PROMETHEUS:
            del self._left["metricsprovider.classname"]
            host, port = self._take("metricsProvider.httpHost"), self._number("metricsProvider.httpPort")
            port = 7000 if port is None else port
            addresses.append(_address("metricsProvider.httpPort", host, port, ANY_IPV4_HOST))
        if addresses:
            self._settings["admin_listen"] = list(dict.fromkeys(addresses))

    def _enforced_auth(self) -> None:
        """ZooKeeper's AuthenticationHelper: anything but true is false there."""
        if (self._take("sessionRequireClientSASLAuth") or "").lower() == "true":
            raise ConfigError(
                "sessionRequireClientSASLAuth: there is no SASL here; enforce.auth can demand digest or x509"
            )
        enabled, schemes = self._take("enforce.auth.enabled"), self._take("enforce.auth.schemes")
        if (enabled or "").lower() == "true":
            if not schemes:
                raise ConfigError("enforce.auth.enabled: which schemes must be in enforce.auth.schemes")
            self._settings["enforce_auth"] = schemes

    def _words(self) -> None:
        """Words that this server does not know are named among what is ignored."""
        value = self._take("4lw.commands.whitelist")
        if value is None:
            self._settings["fourletter_whitelist"] = AUTO
            return
        words = [word.strip() for word in value.split(",") if word.strip()]
        known = [word for word in words if word in ALL_WORDS or word == "*"]
        self._dropped += [f"4lw.commands.whitelist={word}" for word in words if word not in known]
        self._settings["fourletter_whitelist"] = ",".join(known)

    def _sizes(self) -> None:
        """jute.maxbuffer is ZooKeeper's only limit of a znode too."""
        longest = self._settings.get("jute_frame_bytes")
        if longest is not None and longest > 1024 * 1024:
            self._settings["znode_bytes"] = longest
            self._settings["frame_bytes"] = min(max(4 * 1024 * 1024, longest + 64 * 1024), MAX_FRAME_BYTES)

    def _directories(self) -> None:
        """Log and snapshots are in one directory, and what no snapshot needs is removed with each new one."""
        log = self._take("dataLogDir")
        if log is not None and log != self._settings.get("data_dir"):
            self._settings["zookeeper_log_dir"] = log
            self._dropped.append("dataLogDir")
        interval = self._take("autopurge.purgeInterval")
        if interval is None or _DURATION.fullmatch(interval):
            return
        if integer("autopurge.purgeInterval", interval) <= 0:
            self._dropped.append("autopurge.purgeInterval")

    def _tls(self) -> None:
        """PEM files only. Without a key store there is no TLS, and the other keys of TLS mean nothing."""
        store = self._take("ssl.keyStore.location")
        if store is None:
            return
        _require_pem("ssl.keyStore", store, self._left.get("ssl.keystore.type", ("", ""))[1])
        self._settings["tls_cert"] = self._settings["tls_key"] = store
        password = self._password("ssl.keyStore")
        if password:
            self._settings["tls_key_password"] = password
        trusted = self._take("ssl.trustStore.location")
        if trusted is not None:
            _require_pem("ssl.trustStore", trusted, self._left.get("ssl.truststore.type", ("", ""))[1])
            self._settings["tls_ca"] = trusted
            self._password("ssl.trustStore")
        asked = self._take("ssl.clientAuth")
        self._settings["tls_client_auth"] = asked.lower() if asked else ("need" if trusted is not None else "none")

    def _password(self, store: str) -> str:
        """Of a store: a file's first line comes before what is in the file of settings itself."""
        written, file = self._take(f"{store}.password"), self._take(f"{store}.passwordPath")
        if file is None:
            return written or ""
        try:
            return Path(file).read_text().rstrip("\r\n")
        except OSError as error:
            raise ConfigError(f"{store}.passwordPath {file}: {error.strerror}") from None


def _require_pem(store: str, location: str, kind: str) -> None:
    if (kind or ("PEM" if location.lower().endswith(_PEM_SUFFIX) else "")).upper() != "PEM":
        raise ConfigError(f"{store}.location {location}: only PEM files can be read (NAME.pem, or {store}.type=PEM)")


def _address(key: str, host: str | None, port: int, default: str = ANY_HOST) -> str:
    """HOST:PORT. An empty host is loopback, as to Java; none at all is `default`."""
    if not 0 <= port <= 65_535:
        raise ConfigError(f"{key}: {port} is not a port")
    host = (default if host is None else host or _LOOPBACK).removeprefix("[").removesuffix("]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
