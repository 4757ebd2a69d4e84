"""Requests that are not what they should be: cut short, bent, of unknown kinds, of impossible lengths.

Left out is what stops ZooKeeper 3.8 for good, because it logs what it cannot apply: a check outside a multi, a
createTTL without a TTL flag, and the server's own operations.
"""

from __future__ import annotations

import struct
from random import Random
from typing import Any

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute

XID = 77
UNKNOWN = (0, -1, 10, 23, 50, 99, 108, 200, 999, 2**31 - 1, -(2**31))
LENGTHS = (-1, -2, -(2**31), 0, 3, 7, 1_048_576, 0x7FFFFFFF, 0x00FFFFFF)
COUNTS = (-1, -2, -(2**31), 0, 1, 2, 255, 65_536, 2**31 - 1)
_INT = struct.Struct(">i")
_HEADER = 8


def draw(random: Random, request: tuple[int, tuple[Any, ...]], text: str) -> bytes:
    """Bytes to send; `request` is one that would be legal, `text` a path."""
    roll = random.random()
    if roll < 0.06:
        return _INT.pack(random.choice(LENGTHS)) + b"ruok" * 4
    if roll < 0.12:
        return jute.frame(struct.pack(">ii", XID, random.choice(UNKNOWN)) + random.randbytes(random.randrange(12)))
    if roll < 0.16:
        return jute.frame(random.randbytes(random.randrange(_HEADER)))
    if roll < 0.24:
        return _auth(random)
    if roll < 0.28:
        body = struct.pack(">iiiiiq", XID, 16, -1, -1, -1, -1)  # reconfig
        return jute.frame(body[: random.randrange(_HEADER, len(body) + 1)])
    body = jute.request(XID, *request)[4:]
    if roll < 0.6:
        return jute.frame(body[: random.randrange(_HEADER, len(body) + 1)])
    if roll < 0.7:
        return jute.frame(body + random.randbytes(random.randrange(1, 9)))
    return jute.frame(_bent(random, request[0], body, text))


def _auth(random: Random) -> bytes:
    """An auth or SASL packet, whole or cut."""
    if random.random() < 0.3:
        token = random.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x02ab", b"\0\0", b""))
        return jute.frame(struct.pack(">ii", XID, 102) + token)
    body = jute.auth_request(-4, random.choice(("digest", "digest", "ip")), b"u1:p1")[4:]
    return jute.frame(body[: random.randrange(_HEADER, len(body) + 1)])


def _bent(random: Random, op: int, body: bytes, text: str) -> bytes:
    """One length or count replaced, where the bytes of a legal one stand."""
    places = [at for at in range(_HEADER, len(body) - 3) if _INT.unpack_from(body, at)[0] in (1, 2, 3, len(text), -1)]
    if not places or op in (Op.CREATE_TTL, Op.MULTI):  # a flag may be met, and see above
        return body[:-1]
    at = random.choice(places)
    return body[:at] + _INT.pack(random.choice(COUNTS)) + body[at + 4 :]
