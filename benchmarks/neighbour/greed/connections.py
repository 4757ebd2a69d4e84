"""Connections by the thousand: TLS handshakes, descriptors, silence."""

from __future__ import annotations

import contextlib
import ssl
import time

from coordserver.wire.jute import client as jute_client
from load.lines import Line
from load.speech import set_data
from neighbour.greed.attack import (
    Figures,
    Target,
    close_all,
    created,
    dial_many,
    do_all,
    heard_from,
    jute,
    pour,
    still_open,
)

ANSWER_S = 20.0


def client_hello() -> bytes:
    """What a TLS client says first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


class TlsHellos:
    """Many connections that all send a TLS ClientHello at once, and nothing else."""

    def __init__(self, target: Target, hellos: int) -> None:
        self._target = target
        self._hellos = target.count(hellos)

    def prepare(self) -> Figures:
        """Nothing."""
        return {"hellos": self._hellos}

    def strike(self) -> Figures:
        """Connect, say hello, wait for the answers, close."""
        sockets = dial_many(self._target.port, self._hellos)
        try:
            pour(sockets, client_hello(), ANSWER_S)
            return {"hellos": len(sockets), "answered": heard_from(sockets, ANSWER_S)}
        finally:
            close_all(sockets)


class Descriptors:
    """More connections than the server has descriptors, held while writes need new log segments and snapshots."""

    def __init__(self, target: Target, limit: int) -> None:
        self._target = target
        self._limit = limit
        self._writer: Line

    def prepare(self) -> Figures:
        """The writer's connection."""
        self._writer = jute(self._target.port)
        self._writer.ask(created("/written"))
        return {"descriptors": self._limit}

    def strike(self) -> Figures:
        """Connect, write some megabytes, close."""
        sockets = dial_many(self._target.port, self._limit + 100)
        try:
            pour(sockets, jute_client.connect_request(timeout_ms=4_000), 2.0)
            served = heard_from(sockets, 1.0)
            written = 0
            until = time.monotonic() + self._target.hold_s
            while time.monotonic() < until:
                written += do_all(self._writer, [set_data("/written", bytes(10_000))] * 100)
            return {"dialled": len(sockets), "served": served, "writes": written}
        finally:
            close_all(sockets)


class SilentHttp:
    """1,030 connections to an HTTP port that say nothing."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections = target.count(1_030)

    def prepare(self) -> Figures:
        """Nothing."""
        return {"connections": self._connections}

    def strike(self) -> Figures:
        """Connect, hold, close."""
        sockets = dial_many(self._target.port, self._connections)
        try:
            time.sleep(2 * self._target.hold_s)
            return {"dialled": len(sockets), "kept open": still_open(sockets)}
        finally:
            close_all(sockets)
