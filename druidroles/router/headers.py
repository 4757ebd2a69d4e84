"""The headers that a proxy forwards: all except those of one connection only (RFC 9110, §7.6.1)."""

from __future__ import annotations

from collections.abc import Iterable

from druidroles.leadership.epochs import EPOCH_HEADER

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# A leader sends its epoch to the processes that it commands. From an outside client it is an error or an attack.
# The Router has checked the Origin. Behind the Router the Host is another one, so the Origin would be foreign there.
_NOT_FORWARDED = frozenset({b"host", b"origin", b"expect", EPOCH_HEADER.lower().encode()})


def request_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of a client's request that the proxy forwards to the upstream server."""
    forwarded = _select_end_to_end(headers, _NOT_FORWARDED)
    names = {name for name, _ in forwarded}
    if any(name.lower() == b"transfer-encoding" for name, _ in headers):
        # The chunks define the length, and forwarding an unchecked content-length would allow request smuggling.
        forwarded = [(name, value) for name, value in forwarded if name != b"content-length"]
    if b"accept-encoding" not in names:
        # Otherwise our HTTP client would ask for a compression that the proxy's client may not support.
        forwarded.append((b"accept-encoding", b"identity"))
    return forwarded


def response_headers(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the headers of an upstream response that the proxy forwards to the client.

    The proxy sets the date and server headers itself.
    """
    return _select_end_to_end(headers, frozenset({b"date", b"server"}))


def has_body(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a request with these headers has a body."""
    return any(
        name.lower() == b"transfer-encoding" or (name.lower() == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )


def _select_end_to_end(headers: Iterable[tuple[bytes, bytes]], excluded: frozenset[bytes]) -> Headers:
    """Return the headers, with names in lower case, without `excluded` ones and without hop-by-hop headers.

    The hop-by-hop headers are the ones in HOP_BY_HOP and the ones that a `connection` header lists.
    """
    lowered = [(name.lower(), value) for name, value in headers]
    listed = {token.strip().lower() for name, value in lowered if name == b"connection" for token in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in HOP_BY_HOP | excluded | listed]
