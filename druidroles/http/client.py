"""The HTTP client that the roles talk to each other with."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2

CONNECT_TIMEOUT_S = 1.0  # peers are near; Druid's own limit is 500 ms
READ_TIMEOUT_S = 300.0  # Druid's default query timeout


def make_client(headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    """A client with the limits and timeouts of Druid's (20 connections a server); it follows no redirects by itself.

    `headers` go with each request: the credentials of the roles. The client asks for answers without compression:
    between processes of one network, compression costs more than it saves.
    """
    return httpx2.AsyncClient(
        headers={"Accept-Encoding": "identity", **(headers or {})},
        timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=30.0),
        limits=httpx2.Limits(max_connections=200, max_keepalive_connections=40, keepalive_expiry=30.0),
        trust_env=False,
    )
