"""The polite client of a coordination server, a process of its own: `python -m neighbour.polite PORT DIRECTORY`.

Two stock clients, one for each protocol, read a small znode every 5 ms, one request at a time; every tenth request is
a durable set. The process records from the word `go` to the word `stop`. Ten times a second it also syncs a small file
in DIRECTORY, to tell what the disk itself costs.
"""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path

import trio

from coordserver.client import Client, connect
from coordserver.client.values import SessionState
from coordserver.core.model.errors import CoordError
from druidroles.lifeline import follow_parent
from neighbour.rhythm import recorded, ticks
from neighbour.speaking import say
from neighbour.waits import Waits

SESSION_TIMEOUT_S = 10.0
PATH = "/polite-{}"
DATA = b"x" * 100
SET_EVERY = 10
CONNECT_S = 30.0
SYNC_BYTES = 4_096
SYNC_EVERY_S = 0.1
_RETRY_S = 0.01


class Losses:
    """How often a connection or a session ended."""

    def __init__(self) -> None:
        self.connections = 0
        self.sessions = 0

    async def count(self, zk: Client) -> None:
        """Follow the states of a session for ever."""
        async with zk.states() as states:
            async for state in states:
                self.connections += state is SessionState.SUSPENDED
                self.sessions += state is SessionState.LOST


async def ask(zk: Client, stream: str, waits: Waits) -> None:
    """Ask for ever, each request until it has a good answer."""
    path = PATH.format(stream)
    number = 0
    async for _ in ticks(waits):
        number += 1
        waits.begin(stream)
        while True:
            try:
                await (zk.get(path) if number % SET_EVERY else zk.set(path, DATA))
                break
            except CoordError as fault:
                waits.failures[type(fault).__name__] += 1
                await trio.sleep(_RETRY_S)
        waits.end(stream, f"{stream} {'get' if number % SET_EVERY else 'set'}")


async def sync_beside(directory: Path, waits: Waits) -> None:
    """Write and sync a block again and again, as the server's log does."""
    with (directory / "synced").open("wb", buffering=0) as file:

        def sync() -> None:
            os.pwrite(file.fileno(), bytes(SYNC_BYTES), 0)
            os.fdatasync(file.fileno())

        while not waits.complete:
            began = time.perf_counter()
            await trio.to_thread.run_sync(sync)
            waits.disk.append(time.perf_counter() - began)
            await trio.sleep(SYNC_EVERY_S)


async def main(port: int, directory: Path) -> None:
    """Connect, say `ready`, measure, say what was measured."""
    address = f"127.0.0.1:{port}"
    losses = Losses()
    async with (
        connect(f"coord://{address}", session_timeout=SESSION_TIMEOUT_S, connect_within=CONNECT_S) as native,
        connect(f"zk://{address}", session_timeout=SESSION_TIMEOUT_S, connect_within=CONNECT_S) as jute,
        trio.open_nursery() as nursery,
    ):
        clients = {"native": native, "jute": jute}
        for stream, zk in clients.items():
            await zk.create(PATH.format(stream), DATA)
            nursery.start_soon(losses.count, zk)
        say(event="ready")
        streams = [partial(ask, zk, stream) for stream, zk in clients.items()]
        waits = await recorded([*streams, partial(sync_beside, directory)])
        say(event="waits", **waits.summary(), lost_sessions=losses.sessions, lost_connections=losses.connections)
        nursery.cancel_scope.cancel(reason="measured")


if __name__ == "__main__":
    follow_parent()
    trio.run(main, int(sys.argv[1]), Path(sys.argv[2]))
