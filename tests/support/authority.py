"""Certificates for tests: an authority of their own, servers' and clients' certificates as PEM files."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme
from attrs import frozen
from cryptography import x509


@frozen
class Identity:
    """A certificate with its key in one PEM file; `subject` as RFC 2253 writes it, by another library than ours."""

    pem: Path
    subject: str
    serial: int


class Authority:
    """Who signs. `pem` is its own certificate."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self.pem = directory / "ca.pem"
        self._authority.cert_pem.write_to_path(str(self.pem))

    def server(self, name: str = "server") -> Identity:
        """A certificate for loopback."""
        return self._write(name, self._authority.issue_cert("127.0.0.1", "localhost"))

    def client(self, name: str) -> Identity:
        """A certificate for a person or a service."""
        certificate = self._authority.issue_cert(
            f"{name}@example.org", common_name=name, organization_name="Ex, Ample", organization_unit_name="Tests"
        )
        return self._write(name, certificate)

    def context(self, identity: Identity | None = None) -> ssl.SSLContext:
        """A client's, that trusts this authority and shows `identity`."""
        context = ssl.create_default_context(cafile=self.pem)
        if identity is not None:
            context.load_cert_chain(identity.pem)
        return context

    def _write(self, name: str, certificate: trustme.LeafCert) -> Identity:
        path = self._directory / f"{name}.pem"
        fresh = path.with_suffix(".new")
        certificate.private_key_and_cert_chain_pem.write_to_path(str(fresh))
        fresh.replace(path)
        parsed = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes())
        return Identity(path, parsed.subject.rfc4514_string(), parsed.serial_number)
