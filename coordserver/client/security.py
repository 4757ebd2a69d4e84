"""TLS and credentials of a client.

Certificates are read again for each connection, so that renewed ones are taken without a restart.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import attrs

from coordserver.client.errors import CredentialsError


@attrs.frozen(kw_only=True)
class Tls:
    """How to speak TLS with a server. All files are PEM.

    `ca` holds the certificates to trust, None those of the system; `cert` and `key` are what the server is shown, the
    key perhaps in the same file. `check_hostname` False accepts a trusted certificate of whatever host.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """A context from the files as they are now. Raises CredentialsError naming the file."""
        if self.key is not None and self.cert is None:
            raise CredentialsError(f"a TLS key, {self.key}, without a certificate")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_hostname
        if self.ca is None:
            context.load_default_certs()
        else:
            try:
                context.load_verify_locations(self.ca)
            except OSError as fault:
                raise CredentialsError(f"TLS certificates {self.ca}: {_why(fault)}") from None
        if self.cert is not None:
            try:
                # Without a password of its own OpenSSL would ask at the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as fault:
                files = f"{self.cert}, {self.key}" if self.key is not None else str(self.cert)
                raise CredentialsError(f"TLS certificate {files}: {_why(fault)}") from None
        return context


class Auth(NamedTuple):
    """Credentials under one of ZooKeeper's schemes: for `digest`, `user:password`."""

    scheme: str
    auth: bytes

    def __repr__(self) -> str:
        return f"Auth(scheme={self.scheme!r})"  # never the secret

    @classmethod
    def parse(cls, text: str) -> Auth:
        """`digest:user:password`. Raises ValueError, which does not repeat the secret."""
        scheme, colon, rest = text.strip().partition(":")
        if not scheme or not colon:
            raise ValueError("credentials are SCHEME:…, as in digest:user:password")
        if scheme == "digest" and rest.find(":") < 1:
            raise ValueError("digest credentials are digest:user:password")
        return cls(scheme, rest.encode())


def _why(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError):
        return fault.reason or "not a PEM file"
    return fault.strerror or str(fault) if isinstance(fault, OSError) else str(fault)
