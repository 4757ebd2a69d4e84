"""HOST:PORT, as settings and READY lines write it."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """Where to listen, or where somebody listens. Port 0 takes a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str) -> Address:
        """`127.0.0.1:2181`, `localhost:2181`, `[::1]:2181`. Raises ValueError, saying what is wrong."""
        host, colon, port = text.strip().rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        if not colon or not host:
            raise ValueError(f"{text!r} is not HOST:PORT")
        if not port.isascii() or not port.isdigit() or int(port) > 65_535:
            raise ValueError(f"{text!r}: the port is not a number from 0 to 65535")
        return cls(host, int(port))
