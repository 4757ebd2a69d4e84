"""Clients that send what is no good: `python -m hostile PORT SEED FRAMES`, a process of its own.

All that is spoken on the port: the native protocol, jute, both inside TLS, four-letter words, HTTP. Most frames are
legal ones with some bytes changed, so that they get past the first checks; some are cut, some announce what they are
not. A group of frames counts once the server has answered something behind it, so that what is never read is not
counted. At the end a line of JSON says what was done.
"""

from __future__ import annotations

import json
import random
import socket
import ssl
import struct
import sys
from collections.abc import Callable

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute
from coordserver.wire.native import client as native

GROUP = 50
GROUPS_A_CONNECTION = 40
WAIT_S = 10.0
SILENT_S = 0.2
"""Who is told nothing for so long, has announced a frame that it does not send, and begins anew."""
OPEN = ((31, "world", "anyone"),)
PATH = "/fuzz"
REQUESTS: tuple[tuple[int, tuple[object, ...], tuple[object, ...]], ...] = (
    (int(Op.CREATE), (PATH, b"x" * 30, OPEN, 0), (PATH, b"x" * 30, OPEN, 0, 0)),
    (int(Op.CREATE), (PATH + "/s-", b"", OPEN, 3), (PATH + "/s-", b"", OPEN, 3, 0)),
    (int(Op.GET_DATA), (PATH, True), (PATH, True)),
    (int(Op.SET_DATA), (PATH, b"y" * 50, -1), (PATH, b"y" * 50, -1)),
    (int(Op.GET_CHILDREN2), (PATH, False), (PATH, False)),
    (int(Op.DELETE), (PATH + "/a", -1), (PATH + "/a", -1)),
    (int(Op.SET_ACL), (PATH, OPEN, -1), (PATH, OPEN, -1)),
    (int(Op.EXISTS), (PATH, True), (PATH, True)),
    (int(Op.ADD_WATCH), (PATH, 1), (PATH, 1, 0)),
)


class Hostile:
    """Sends so many frames, over one connection after another."""

    def __init__(self, port: int, seed: int, frames: int) -> None:
        self._port = port
        self._random = random.Random(seed)
        self._left = frames
        self._tls = ssl.create_default_context()
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE
        self.sent: dict[str, int] = {}
        self.connections = 0
        self.cut = 0

    def run(self) -> None:
        """Until all are sent."""
        ways: dict[str, Callable[[], int]] = {
            "jute": lambda: self._session(self._jute, jute.connect_request(timeout_ms=4_000), tls=False),
            "native": lambda: self._session(self._native, native.encode_hello(timeout_ms=4_000), tls=False),
            "jute in TLS": lambda: self._session(self._jute, jute.connect_request(timeout_ms=4_000), tls=True),
            "native in TLS": lambda: self._session(self._native, native.encode_hello(timeout_ms=4_000), tls=True),
            "TLS records": lambda: self._once(self._records()),
            "word": lambda: self._once(self._word()),
            "HTTP": lambda: self._once(self._http()),
            "first bytes": lambda: self._once(self._random.randbytes(self._random.randrange(1, 60))),
        }
        names = list(ways)
        while self._left > 0:
            name = self._random.choices(names, (20, 20, 5, 5, 8, 14, 14, 14))[0]
            self.connections += 1
            count = ways[name]()
            self.sent[name] = self.sent.get(name, 0) + count
            self._left -= count

    def _session(self, frame: Callable[[], bytes], hello: bytes, *, tls: bool) -> int:
        """A connection that says hello rightly, and then anything; how many frames were answered."""
        sent = 0
        try:
            with self._connect(tls) as sock:
                sock.sendall(hello)
                if not sock.recv(65_536):
                    return sent
                sock.settimeout(SILENT_S)
                for _ in range(self._random.randrange(1, GROUPS_A_CONNECTION)):
                    sock.sendall(b"".join(frame() for _ in range(GROUP)))
                    if not sock.recv(1 << 18):
                        break
                    sent += GROUP
        except OSError:
            self.cut += 1
        return sent

    def _once(self, data: bytes) -> int:
        """A connection that says one thing."""
        try:
            with self._connect(tls=False) as sock:
                sock.settimeout(0.03)  # what may be the beginning of something is waited for
                sock.sendall(data)
                while sock.recv(65_536):
                    pass
        except OSError:
            self.cut += 1
        return 1

    def _connect(self, tls: bool) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), timeout=WAIT_S)
        return self._tls.wrap_socket(sock) if tls else sock

    def _jute(self) -> bytes:
        op, arguments, _ = self._random.choice(REQUESTS)
        frame = bytearray(jute.request(self._random.randrange(1, 1 << 31), op, arguments))
        return self._bent(frame, 12)

    def _native(self) -> bytes:
        op, _, arguments = self._random.choice(REQUESTS)
        frame = bytearray(native.encode_request(self._random.randrange(1, 1 << 40), op, 1, arguments))
        return self._bent(frame, 4)

    def _bent(self, frame: bytearray, keep: int) -> bytes:
        """Some bytes changed, mostly behind the first `keep`; its length right but for a few."""
        draw = self._random
        for _ in range(draw.choice((0, 1, 1, 2, 5))):
            if len(frame) > keep:
                frame[draw.randrange(keep, len(frame))] = draw.randrange(256)
        roll = draw.random()
        if roll < 0.004:
            body = draw.randbytes(draw.randrange(80))
            return struct.pack(">I", len(body)) + body
        if roll < 0.03 and len(frame) > keep:
            del frame[draw.randrange(keep, len(frame)) :]
            frame[:4] = struct.pack(">I", len(frame) - 4)
        elif roll < 0.031:
            frame[draw.randrange(4)] = draw.randrange(256)
        elif roll < 0.034:
            frame[draw.randrange(len(frame))] ^= 1 << draw.randrange(8)
        return bytes(frame)

    def _records(self) -> bytes:
        """Something that begins as TLS does."""
        draw = self._random
        body = draw.randbytes(draw.randrange(200))
        kind, version = draw.choice((0x16, 0x16, 0x15, 0x17)), draw.choice((0x0301, 0x0303, 0x0304, 0x0200))
        return b"\x16" + struct.pack(">HH", version, len(body)) + body + bytes([kind]) + body

    def _word(self) -> bytes:
        draw = self._random
        known = draw.choice((b"ruok", b"srvr", b"stat", b"mntr", b"cons", b"dump", b"wchs", b"wchp", b"stmk", b"envi"))
        return draw.choice((known, known + draw.randbytes(8), bytes(draw.choices(range(97, 123), k=4)), known[:3]))

    def _http(self) -> bytes:
        draw = self._random
        method, path = (
            draw.choice((b"GET", b"POST", b"PUT", b"G")),
            draw.choice((b"/metrics", b"/commands/cons", b"/", b"*")),
        )
        head = bytearray(
            method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nA: " + draw.randbytes(draw.randrange(40)) + b"\r\n\r\n"
        )
        for _ in range(draw.randrange(3)):
            head[draw.randrange(1, len(head))] = draw.randrange(256)
        return bytes(head)


def main() -> None:
    """As the module says."""
    port, seed, frames = map(int, sys.argv[1:])
    hostile = Hostile(port, seed, frames)
    hostile.run()
    print(json.dumps({"sent": hostile.sent, "connections": hostile.connections, "cut": hostile.cut}))


if __name__ == "__main__":
    main()
