"""The certificate that the port shows, and whose certificates it takes; read again when the files change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from coordserver.config.server import ConfigError, ServerConfig

_log = logging.getLogger(__name__)

_VERIFY = {"none": ssl.CERT_NONE, "want": ssl.CERT_OPTIONAL, "need": ssl.CERT_REQUIRED}


class Certificates:
    """A TLS context that is made anew when one of its files has changed. Raises ConfigError if they are no good."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._files = tuple(path for path in (config.tls_cert, config.tls_key, config.tls_ca) if path is not None)
        self._seen = self._times()
        self.context = self._load()

    def refresh(self) -> None:
        """Look at the files; those that are no good, perhaps half written, leave everything as it was."""
        seen = self._times()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.context = self._load()
        except ConfigError as fault:
            _log.warning("certificates are not taken over: %s", fault)
        else:
            _log.info("new certificates taken over from %s", self._config.tls_cert)

    def _times(self) -> tuple[tuple[int, int] | None, ...]:
        return tuple(_time(path) for path in self._files)

    def _load(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if config.tls_cert is None:
            raise ConfigError("tls_cert: missing")
        try:
            context.load_cert_chain(config.tls_cert, config.tls_key, lambda: config.tls_key_password)
        except (OSError, ssl.SSLError) as fault:
            raise ConfigError(f"tls_cert {config.tls_cert}, tls_key {config.tls_key}: {fault}") from None
        context.verify_mode = _VERIFY[config.tls_client_auth]
        if config.tls_ca is not None:
            try:
                context.load_verify_locations(config.tls_ca)
            except (OSError, ssl.SSLError) as fault:
                raise ConfigError(f"tls_ca {config.tls_ca}: {fault}") from None
        return context


def _time(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size
