"""Which HTTP requests a stranger's web page made a browser send. One rule for the server's HTTP and the Druid roles'.

A page can make a browser send to any address, loopback too. Two headers give it away. `Host` is the name in the URL: an
address or a name of ours, but never the name of a page that resolves to our address (DNS rebinding). `Origin` is the
page that asks: a browser sends it with each request that another page's script or form makes and that may change
something. A client that is no browser sends no Origin, and a request without a Host comes from no browser.
"""

from __future__ import annotations

import ipaddress

from attrs import frozen

ANY = "*"


@frozen
class WebPolicy:
    """`hosts`: names by which a process may be called, beside addresses and localhost. `origins`: names of hosts whose
    pages may ask, beside the process's own. Names are in lower case; `*` among `hosts` takes every Host.
    """

    hosts: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()

    def refusal(self, host: str | None, origin: str | None) -> str | None:
        """Why a request with these headers is refused; None where it is not. None for a header: it is missing."""
        if host is not None and not self._is_ours(host_name(host)):
            return "refused: the Host header names no address of this server"
        if origin is None:
            return None
        place = origin.partition("://")[2].lower()
        if place and (place == (host or "").lower() or host_name(place) in self.origins):
            return None
        return "refused: the request comes from another origin"

    def _is_ours(self, name: str) -> bool:
        if name == "localhost" or name in self.hosts or ANY in self.hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def host_name(host: str) -> str:
    """HOST or HOST:PORT without the port, and IPv6 without its brackets, in lower case."""
    rest, _, port = host.rpartition(":")
    name = rest if port.isdigit() and not host.endswith("]") else host
    return name.removeprefix("[").removesuffix("]").lower()
