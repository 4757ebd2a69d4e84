"""Writes files of Apache ZooKeeper's formats byte by byte, for what a real one cannot be made to leave on command."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping

from cramjam import snappy

OPEN = ((31, "world", "anyone"),)


def buffer(data: bytes | None) -> bytes:
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def text(value: str) -> bytes:
    return buffer(value.encode())


def vector(parts: Iterable[bytes]) -> bytes:
    parts = tuple(parts)
    return struct.pack(">i", len(parts)) + b"".join(parts)


def acl(entries: Iterable[tuple[int, str, str]] = OPEN) -> bytes:
    return vector(struct.pack(">i", perms) + text(scheme) + text(name) for perms, scheme, name in entries)


def znode(
    path: str,
    data: bytes | None = b"",
    *,
    key: int = -1,
    zxid: int = 0,
    creates: int = 0,
    owner: int = 0,
    pzxid: int = 0,
) -> bytes:
    """A znode of a snapshot; the root is the empty path."""
    stat = struct.pack(">qqqqiiiqq", zxid, zxid, 1_000, 1_000, 0, creates, 0, owner, pzxid or zxid)
    return text(path) + buffer(data) + struct.pack(">q", key) + stat


SYSTEM = (znode("", creates=0), znode("/zookeeper"), znode("/zookeeper/config"), znode("/zookeeper/quota"))


def snapshot(znodes: Iterable[bytes], sessions: Mapping[int, int] = {}, *, version: str = "3.6") -> bytes:
    """A whole snapshot, as of 3.5, 3.6 or 3.9."""
    data = b"ZKSN" + struct.pack(">iq", 2, -1)
    data += vector(struct.pack(">qi", *session) for session in sessions.items())
    data += vector([struct.pack(">q", 7) + acl(((1, "digest", "ann:x"),))])
    data = seal(data + b"".join(znodes) + text("/"))
    if version >= "3.6":
        data = seal(data + struct.pack(">qiq", 1, 2, 12345))
    if version >= "3.9":
        data = seal(data + struct.pack(">q", 1))
    return data


def snappy_stream(data: bytes, block_bytes: int = 32 * 1024) -> bytes:
    """As SnappyOutputStream compresses it."""
    stream = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    for start in range(0, len(data), block_bytes):
        block = bytes(snappy.compress_raw(data[start : start + block_bytes]))
        stream += struct.pack(">i", len(block)) + block
    return stream


def seal(data: bytes) -> bytes:
    return data + struct.pack(">q", zlib.adler32(data)) + text("/")


DIGEST = struct.pack(">iq", 2, 987_654_321)


def entry(zxid: int, kind: int, body: bytes = b"", *, session: int = 9, digest: bytes = DIGEST) -> bytes:
    """An entry of the log."""
    payload = struct.pack(">qiqqi", session, 1, zxid, 2_000 + zxid, kind) + body + digest
    return struct.pack(">qi", zlib.adler32(payload), len(payload)) + payload + b"B"


def create(zxid: int, path: str, creates: int, data: bytes | None = b"", *, ephemeral: bool = False) -> bytes:
    return entry(zxid, 1, text(path) + buffer(data) + acl() + bytes([ephemeral]) + struct.pack(">i", creates))


def log(*entries: bytes) -> bytes:
    return b"ZKLG" + struct.pack(">iq", 2, 0) + b"".join(entries) + bytes(100)
