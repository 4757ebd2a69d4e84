"""TLS and credentials of a client.

The certificate files are read again for each connection, so that renewed certificates are used without a restart.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NamedTuple

import attrs

from coordserver.client.errors import CredentialsError


@attrs.frozen(kw_only=True)
class Tls:
    """The TLS settings of a client. All files are PEM files.

    `ca` has the trusted certificates; None means those of the system. `cert` and `key` are the client's own certificate
    and key; without `key`, `cert` has both. With `check_hostname` False, a trusted certificate of any host is accepted.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files and return a new context. Raises CredentialsError, which names the file."""
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
                raise CredentialsError(f"TLS certificates {self.ca}: {_describe(fault)}") from None
        if self.cert is not None:
            try:
                # Without the empty password OpenSSL would ask for one at the terminal.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as fault:
                files = f"{self.cert}, {self.key}" if self.key is not None else str(self.cert)
                raise CredentialsError(f"TLS certificate {files}: {_describe(fault)}") from None
        return context


class Auth(NamedTuple):
    """Credentials of one of ZooKeeper's schemes. For `digest`, `auth` is `user:password`."""

    scheme: str
    auth: bytes

    def __repr__(self) -> str:
        return f"Auth(scheme={self.scheme!r})"  # the secret must not appear in logs

    @classmethod
    def parse(cls, text: str) -> Auth:
        """Parse credentials such as `digest:user:password`. Raises ValueError without the secret in its text."""
        scheme, colon, rest = text.strip().partition(":")
        if not scheme or not colon:
            raise ValueError("credentials are SCHEME:…, as in digest:user:password")
        if scheme == "digest" and rest.find(":") < 1:
            raise ValueError("digest credentials are digest:user:password")
        return cls(scheme, rest.encode())


def _describe(fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError):
        return fault.reason or "not a PEM file"
    return fault.strerror or str(fault) if isinstance(fault, OSError) else str(fault)
