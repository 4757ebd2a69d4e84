"""kazoo as its users have it: threads, callbacks, a client each, and bounded waits for what must come."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from kazoo.client import KazooClient, KazooState

WAIT_S = 20.0
RETRY = {"max_tries": -1, "delay": 0.02, "backoff": 1, "max_delay": 0.1}


def until(found: Callable[[], Any], what: str = "") -> Any:
    """Poll until `found` gives something true, and give that."""
    deadline = time.monotonic() + WAIT_S
    while not (result := found()):
        assert time.monotonic() < deadline, what or "waited for too long"
        time.sleep(0.005)
    return result


def came(event: threading.Event) -> None:
    """Wait for an event that must come."""
    assert event.wait(WAIT_S), "nothing came"


class Clients:
    """Started clients of one server, all stopped at the end."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._clients: list[KazooClient] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        for client in self._clients:
            client.stop()
            client.close()

    def make(self, chroot: str = "", *, port: int = 0, **options: Any) -> KazooClient:
        """A client that is not started."""
        options = {"timeout": 10.0, "connection_retry": RETRY, "command_retry": RETRY} | options
        client = KazooClient(f"127.0.0.1:{port or self.port}{chroot}", **options)
        self._clients.append(client)
        return client

    def __call__(self, chroot: str = "", **options: Any) -> KazooClient:
        """A client that is connected."""
        client = self.make(chroot, **options)
        client.start(timeout=WAIT_S)
        return client


class States:
    """What a client's listener was told, in order."""

    def __init__(self, client: KazooClient) -> None:
        self._client = client
        self.seen: list[str] = []
        client.add_listener(self.seen.append)

    def until(self, *wanted: str) -> None:
        """Wait for these states, in this order, others between them allowed."""
        until(lambda: _in_order(wanted, self.seen), f"{wanted} in {self.seen}")

    def until_connected_again(self) -> None:
        """Wait for a connection, after whatever was lost."""
        until(lambda: self.seen and self.seen[-1] == KazooState.CONNECTED and self._client.connected, f"{self.seen}")


def _in_order(wanted: tuple[str, ...], seen: list[str]) -> bool:
    remaining = iter(list(seen))
    return all(state in remaining for state in wanted)


class Thread(threading.Thread):
    """A thread whose result, or fault, is the joiner's."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self._result: Any = None
        self._fault: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._work()
        except Exception as fault:  # noqa: BLE001 - handed to who joins
            self._fault = fault

    def result(self, wait_s: float = WAIT_S) -> Any:
        """Join."""
        self.join(wait_s)
        assert not self.is_alive(), "a thread does not end"
        if self._fault is not None:
            raise self._fault
        return self._result
