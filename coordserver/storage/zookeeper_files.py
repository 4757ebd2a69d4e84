"""Apache ZooKeeper's files, read: snapshots and transaction logs of 3.4 to 3.9 (its package server.persistence).

A snapshot is jute: header, sessions, a table of ACLs, znodes depth first, each part checked by Adler-32. From 3.6 on a
digest follows, from 3.9 on the last zxid. It is fuzzy: written while writes went on, so a znode may be newer than the
zxid in the file's name, and what the log holds from there on is applied over it with tolerance (zookeeper_tree.py).

A log is a sequence of entries, each with an Adler-32 of its own, up to zeros, the end of the file, or an entry that was
cut short. A wrong checksum is damage and no end.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from coordserver.core.acl import ACL
from coordserver.storage.errors import CorruptionError
from coordserver.storage.snappy_stream import MAGIC as SNAPPY_MAGIC
from coordserver.storage.snappy_stream import decompress

SNAPSHOT_MAGIC = b"ZKSN"
LOG_MAGIC = b"ZKLG"
GZIP_MAGIC = b"\x1f\x8b"
VERSION = 2
LOG_HEADER_BYTES = 16
TXN_HEADER_BYTES = 32
_ENTRY = struct.Struct(">qi")
_ENTRY_END = 0x42
_TXN_HEADER = struct.Struct(">qiqqi")
_STAT = struct.Struct(">qqqqiiiqq")
_NO_LENGTH = -1


class Truncated(Exception):
    """The bytes end inside a value."""


class JuteReader:
    """Values one after another. Raises Truncated where the bytes end, ValueError where they are no such values."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.position = 0

    @property
    def left(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self.position

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        if count > self.left:
            raise Truncated
        part = self._data[self.position : self.position + count]
        self.position += count
        return part

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """Numbers in a fixed layout."""
        return layout.unpack(self.take(layout.size))

    def int32(self) -> int:
        """Four bytes."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        """Eight bytes."""
        return int.from_bytes(self.take(8), "big", signed=True)

    def boolean(self) -> bool:
        """One byte."""
        return self.take(1)[0] != 0

    def buffer(self) -> bytes | None:
        """A length and as many bytes; -1 is null."""
        length = self.int32()
        if length == _NO_LENGTH:
            return None
        if length < 0:
            raise ValueError(f"a buffer of {length} bytes")
        return bytes(self.take(length))

    def text(self) -> str:
        """A string; null is the empty one. Java writes lone surrogates as `?`, so strict UTF-8 is what there is."""
        return (self.buffer() or b"").decode()

    def count(self) -> int:
        """The length of a vector; null is empty."""
        count = self.int32()
        if count < _NO_LENGTH or count > self.left:
            raise ValueError(f"a vector of {count}")
        return max(count, 0)

    def texts(self) -> tuple[str, ...]:
        """A vector of strings."""
        return tuple(self.text() for _ in range(self.count()))

    def acl(self) -> tuple[ACL, ...]:
        """A vector of ACL entries."""
        return tuple(ACL(self.int32(), self.text(), self.text()) for _ in range(self.count()))


class FileZnode(NamedTuple):
    """A znode as a snapshot has it. `creates` is ZooKeeper's stored cversion, which counts creates only."""

    path: str
    data: bytes | None
    acl: tuple[ACL, ...]
    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    creates: int
    aversion: int
    owner: int
    pzxid: int


class FileSnapshot(NamedTuple):
    """A whole snapshot."""

    sessions: dict[int, int]
    znodes: list[FileZnode]


class FileTxn(NamedTuple):
    """An entry of the log. `body` begins behind the header; zookeeper_tree.py reads it by `type`."""

    session: int
    cxid: int
    zxid: int
    time_ms: int
    type: int
    body: memoryview


def read_zookeeper_snapshot(name: str, data: bytes) -> FileSnapshot:
    """Decode a snapshot file, plain or compressed with gzip or snappy. Raises CorruptionError, which names the file and
    the place, and ModuleNotFoundError for snappy without its extra."""
    if data.startswith(SNAPPY_MAGIC):
        try:
            data = decompress(data)
        except ValueError as fault:
            raise CorruptionError(f"{name}: not whole: {fault}") from None
    elif data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as fault:
            raise CorruptionError(f"{name}: not whole: {fault}") from None
    reader = JuteReader(data)
    try:
        return _snapshot(reader, data)
    except Truncated:
        raise CorruptionError(f"{name}: ends too early, in {len(data)} bytes") from None
    except (ValueError, KeyError) as fault:
        raise CorruptionError(f"{name}: at offset {reader.position}: {fault}") from None


def _snapshot(reader: JuteReader, data: bytes) -> FileSnapshot:
    magic, version, _ = bytes(reader.take(4)), reader.int32(), reader.int64()
    if magic != SNAPSHOT_MAGIC or version != VERSION:
        raise ValueError(f"no snapshot of ZooKeeper's version {VERSION}: {magic!r}, version {version}")
    sessions = {reader.int64(): reader.int32() for _ in range(reader.count())}
    acls = {reader.int64(): reader.acl() for _ in range(reader.count())}
    acls[-1] = (ACL(31, "world", "anyone"),)
    znodes = list(_znodes(reader, acls))
    _check_seal(reader, data)
    if reader.left >= 20:  # 3.6: zxid, digest version, digest of the tree
        reader.take(20)
        _check_seal(reader, data)
    if reader.left >= 8:  # 3.9: the last zxid
        reader.take(8)
        _check_seal(reader, data)
    return FileSnapshot(sessions, znodes)


def _znodes(reader: JuteReader, acls: dict[int, tuple[ACL, ...]]) -> Iterator[FileZnode]:
    while True:
        path = reader.text()
        if path == "/":
            return
        data, acl = reader.buffer(), acls[reader.int64()]
        czxid, mzxid, ctime, mtime, version, creates, aversion, owner, pzxid = reader.fields(_STAT)
        stat = (czxid, mzxid, ctime, mtime, version, creates, aversion, owner, pzxid)
        yield FileZnode(path or "/", data, acl, *stat)


def _check_seal(reader: JuteReader, data: bytes) -> None:
    """The Adler-32 of all bytes so far, and the path `/`."""
    expected = zlib.adler32(memoryview(data)[: reader.position])
    if reader.int64() != expected or reader.text() != "/":
        raise ValueError("the checksum is wrong")


def read_zookeeper_log(name: str, data: bytes) -> Iterator[FileTxn]:
    """The entries of a log file up to its end. Raises CorruptionError where a checksum is wrong."""
    reader = JuteReader(data)
    try:
        magic, version, _ = bytes(reader.take(4)), reader.int32(), reader.int64()
        if magic != LOG_MAGIC or version != VERSION:
            raise CorruptionError(f"{name}: no log of ZooKeeper's version {VERSION}: {magic!r}, version {version}")
        while True:
            start = reader.position
            checksum, length = reader.fields(_ENTRY)
            if length <= 0:
                return
            payload = reader.take(length)
            if reader.take(1)[0] != _ENTRY_END:
                return
            if zlib.adler32(payload) != checksum:
                raise CorruptionError(f"{name}: at offset {start}: an entry whose checksum is wrong")
            if length < TXN_HEADER_BYTES:
                raise CorruptionError(f"{name}: at offset {start}: an entry of {length} bytes")
            session, cxid, zxid, time_ms, kind = _TXN_HEADER.unpack(payload[:TXN_HEADER_BYTES])
            yield FileTxn(session, cxid, zxid, time_ms, kind, payload[TXN_HEADER_BYTES:])
    except Truncated:
        return
