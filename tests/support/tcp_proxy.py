"""A wire between client and server that can be cut, go silent, or be down: threads, for clients that use threads."""

from __future__ import annotations

import socket
import threading
from typing import Self

WAIT_S = 10.0


class TcpProxy:
    """Forwards from `port` to the server's port. While `silent`, bytes are swallowed in both directions."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._closed = False
        self.silent = False

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self.cut()
        for thread in self._threads:
            thread.join(WAIT_S)
        self._listener.close()

    def cut(self) -> None:
        """Lose every connection; new ones are taken."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            try:
                theirs = socket.create_connection(("127.0.0.1", self._server_port), timeout=WAIT_S)
            except OSError:
                ours.close()
                continue
            theirs.settimeout(None)
            with self._lock:
                self._sockets += (ours, theirs)
            self._start(self._forward, ours, theirs)

    def _forward(self, ours: socket.socket, theirs: socket.socket) -> None:
        """One connection: a thread of its own for the way back, and both ends are closed once that is over."""
        back = threading.Thread(target=self._pump, args=(theirs, ours), daemon=True)
        back.start()
        self._pump(ours, theirs)
        back.join(WAIT_S)
        ours.close()
        theirs.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.silent:
                    sink.sendall(data)
        except OSError:
            pass
        for sock in (source, sink):
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
