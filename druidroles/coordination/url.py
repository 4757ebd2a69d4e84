"""The value of `--coord`: which servers coordinate, and below which path."""

from __future__ import annotations

import attrs

DEFAULT_PORT = 2181


@attrs.frozen
class CoordUrl:
    """`scheme` is coord (the native protocol) or zk (jute); `hosts` as the client takes it: `host:port,host:port`."""

    scheme: str
    hosts: str
    base: str

    @classmethod
    def parse(cls, text: str) -> CoordUrl:
        """Read `coord://host:2181,host:2181/druid`; the port defaults to 2181, the path to /druid.

        The path is Druid's `druid.zk.paths.base`, not a chroot. Raises ValueError saying what is wrong.
        """
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in ("coord", "zk"):
            raise ValueError(f"{text!r} does not begin with coord:// or zk://")
        listed, _, path = rest.partition("/")
        base = "/" + (path.strip("/") or "druid")
        if "//" in base or any(part in (".", "..") for part in base.split("/")):
            raise ValueError(f"{base!r} is not a path")
        return cls(scheme, ",".join(_host(one, text) for one in listed.split(",")), base)

    @property
    def servers(self) -> str:
        """Scheme and hosts, as the client takes them."""
        return f"{self.scheme}://{self.hosts}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.hosts}{self.base}"


def _host(one: str, text: str) -> str:
    host, colon, port = one.strip().rpartition(":")
    if not colon or one.endswith("]"):
        host, port = one.strip(), str(DEFAULT_PORT)
    if not host or (":" in host and not host.startswith("[")):
        raise ValueError(f"{text!r} names no host, or an IPv6 address without brackets")
    if not port.isdigit() or not 0 < int(port) < 65_536:
        raise ValueError(f"{text!r}: {port!r} is not a port")
    return f"{host}:{port}"
