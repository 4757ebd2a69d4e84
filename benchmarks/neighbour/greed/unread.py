"""Answers by the megabyte: left unread, or read over TLS; and requests that never end."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from pathlib import Path

from coordserver.core.model.errors import WireError
from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute_client
from load.lines import READ_BYTES, Request
from load.speech import JuteSpeech, get_data
from neighbour.greed.attack import (
    ENOUGH_S,
    MEGABYTE,
    Figures,
    Target,
    close_all,
    created,
    crowd,
    dial_many,
    jute,
    pour,
    still_open,
)

UNFINISHED_BYTES = 900_000
STALL_S = 5.0


class UnreadMegabytes:
    """Many connections, each of which asks five times for 1 MB and does not read."""

    def __init__(self, target: Target, connections: int) -> None:
        self._target = target
        self._connections = target.count(connections)

    def prepare(self) -> Figures:
        """The znode."""
        jute(self._target.port).ask(created("/mega", MEGABYTE))
        return {"connections": self._connections}

    def strike(self) -> Figures:
        """Connect, ask, hold, close."""
        return _ask_unread(self._target, self._connections, [get_data("/mega")] * 5)


class UnreadMultiReads:
    """300 connections, each of which asks with one multiRead for 16 MB and does not read."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections = target.count(300)

    def prepare(self) -> Figures:
        """The znode."""
        jute(self._target.port).ask(created("/mega", MEGABYTE))
        return {"connections": self._connections}

    def strike(self) -> Figures:
        """Connect, ask, hold, close."""
        reads = ((Op.GET_DATA, "/mega", False),) * 16
        return _ask_unread(self._target, self._connections, [(Op.MULTI_READ, (reads,))])


def _ask_unread(target: Target, connections: int, requests: list[Request]) -> Figures:
    with crowd(target.port, JuteSpeech(), connections, narrow=True) as lines:
        asked = [b"".join(line.encode(requests)) for line in lines]
        for line, data in zip(lines, asked, strict=True):
            with contextlib.suppress(OSError):  # cut off meanwhile
                line.socket.sendall(data)
        time.sleep(target.hold_s)
        return {"asked": len(lines), "kept open": still_open([line.socket for line in lines])}


class UnfinishedFrames:
    """300 connections, each of which sends 900 KB of a frame behind its hello and never ends the frame."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._connections = target.count(300)

    def prepare(self) -> Figures:
        """Nothing."""
        return {"connections": self._connections}

    def strike(self) -> Figures:
        """Connect, pour, hold, close."""
        hello = jute_client.connect_request(timeout_ms=4_000)
        unfinished = (1_000_000).to_bytes(4, "big") + bytes(UNFINISHED_BYTES)
        sockets = dial_many(self._target.port, self._connections)
        try:
            taken = pour(sockets, hello + unfinished, self._target.hold_s)
            time.sleep(self._target.hold_s)
            return {"sent_mb": taken // 1_000_000, "kept open": still_open(sockets)}
        finally:
            close_all(sockets)


class BulkOverTls:
    """One reader over TLS that pipelines 200 reads of 1 MB and reads as fast as it can."""

    def __init__(self, target: Target, authority: Path) -> None:
        self._target = target
        self._context = ssl.create_default_context(cafile=authority)
        self._reads = target.count(200)

    def prepare(self) -> Figures:
        """The znode."""
        jute(self._target.port).ask(created("/mega", MEGABYTE))
        return {"reads": self._reads}

    def strike(self) -> Figures:
        """Connect, ask, read all; a read that waits too long is a stall, and the end."""
        plain = socket.create_connection(("127.0.0.1", self._target.port), ENOUGH_S)
        with plain, self._context.wrap_socket(plain, server_hostname="127.0.0.1") as sock:
            speech = JuteSpeech()
            sock.sendall(speech.hello())
            answer = b""
            while not speech.greeted(answer):
                answer += sock.recv(READ_BYTES)
            sock.sendall(b"".join(speech.request(at + 1, *get_data("/mega")) for at in range(self._reads)))
            sock.settimeout(STALL_S)
            began, got = time.monotonic(), 0
            try:
                while got < self._reads * len(MEGABYTE):
                    data = sock.recv(READ_BYTES)
                    if not data:
                        raise WireError("the server closed the connection")
                    got += len(data)
            except TimeoutError:
                return {"read_mb": got // 1_000_000, "stalls": 1}
            return {"read_mb": got // 1_000_000, "read_s": round(time.monotonic() - began, 2)}
