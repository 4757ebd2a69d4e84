"""The HTTP client that the roles talk to each other with."""

from __future__ import annotations

import httpx2

CONNECT_TIMEOUT_S = 1.0  # peers are near; Druid's own limit is 500 ms
READ_TIMEOUT_S = 300.0  # Druid's default query timeout


def make_client() -> httpx2.AsyncClient:
    """A client with the limits and timeouts of Druid's (20 connections a server); it follows no redirects by itself.

    It asks for answers as they are: between processes of one network packing costs more than it saves.
    """
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, pool=30.0),
        limits=httpx2.Limits(max_connections=200, max_keepalive_connections=40, keepalive_expiry=30.0),
        headers={"Accept-Encoding": "identity"},
        trust_env=False,
    )
