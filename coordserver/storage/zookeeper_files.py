"""The reader of Apache ZooKeeper's snapshots and transaction logs, versions 3.4 to 3.9 (server.persistence there).

A snapshot is encoded in jute. It has a header, the sessions, a table of ACLs, and the znodes depth first. From 3.6 on a
digest follows, from 3.9 on the last zxid. Each part is followed by an Adler-32 checksum. A snapshot is fuzzy: ZooKeeper
executes writes while it writes the file, so a znode may be newer than the zxid in the file's name. The log after that
zxid is therefore replayed over it with tolerance (zookeeper_tree.py).

A log is a sequence of entries, each with its own Adler-32. It ends at zeros, at the end of the file, or at an
incomplete entry. A wrong checksum means damage; it does not mark the end.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from coordserver.core.model.acl import ACL
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
    """Reads jute values one after another.

    Every method raises Truncated if the bytes end inside the value, and ValueError if they are not a valid value.
    """

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self.position = 0

    @property
    def left(self) -> int:
        """The number of bytes that are not read yet."""
        return len(self._data) - self.position

    def take(self, count: int) -> memoryview:
        """Read the next `count` bytes."""
        if count > self.left:
            raise Truncated
        part = self._data[self.position : self.position + count]
        self.position += count
        return part

    def fields(self, layout: struct.Struct) -> tuple[int, ...]:
        """Read the numbers of a fixed layout."""
        return layout.unpack(self.take(layout.size))

    def int32(self) -> int:
        """Read a signed integer of four bytes."""
        return int.from_bytes(self.take(4), "big", signed=True)

    def int64(self) -> int:
        """Read a signed integer of eight bytes."""
        return int.from_bytes(self.take(8), "big", signed=True)

    def boolean(self) -> bool:
        """Read a boolean of one byte."""
        return self.take(1)[0] != 0

    def buffer(self) -> bytes | None:
        """Read a length and that many bytes. Length -1 means null, which becomes None."""
        length = self.int32()
        if length == _NO_LENGTH:
            return None
        if length < 0:
            raise ValueError(f"a buffer of {length} bytes")
        return bytes(self.take(length))

    def text(self) -> str:
        """Read a string. Null becomes the empty string.

        The decoding is strict, because Java replaces lone surrogates by `?` and so always writes valid UTF-8.
        """
        return (self.buffer() or b"").decode()

    def count(self) -> int:
        """Read the length of a vector. Null becomes 0."""
        count = self.int32()
        if count < _NO_LENGTH or count > self.left:
            raise ValueError(f"a vector of {count}")
        return max(count, 0)

    def texts(self) -> tuple[str, ...]:
        """Read a vector of strings."""
        return tuple(self.text() for _ in range(self.count()))

    def acl(self) -> tuple[ACL, ...]:
        """Read a vector of ACL entries."""
        return tuple(ACL(self.int32(), self.text(), self.text()) for _ in range(self.count()))


class FileZnode(NamedTuple):
    """A znode of a snapshot. `creates` is ZooKeeper's stored cversion, which counts only the creations of children."""

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
    """The sessions of a snapshot, as timeouts in milliseconds by session id, and its znodes, parents first."""

    sessions: dict[int, int]
    znodes: list[FileZnode]


class FileTxn(NamedTuple):
    """An entry of the log. `body` is the record after the header, which zookeeper_tree.py decodes by `type`."""

    session: int
    cxid: int
    zxid: int
    time_ms: int
    type: int
    body: memoryview


def read_zookeeper_snapshot(name: str, data: bytes) -> FileSnapshot:
    """Decode a snapshot file, plain or compressed with gzip or snappy.

    Raises CorruptionError, which names the file and the offset, and ModuleNotFoundError for snappy without its extra.
    """
    if data.startswith(SNAPPY_MAGIC):
        try:
            data = decompress(data)
        except ValueError as fault:
            raise CorruptionError(f"{name}: not whole: {fault}") from None
    elif data.startswith(GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as fault:
            raise CorruptionError(f"{name}: incomplete or damaged gzip data: {fault}") from None
    reader = JuteReader(data)
    try:
        return _read_snapshot(reader, data)
    except Truncated:
        raise CorruptionError(f"{name}: ends too early, after {len(data)} bytes") from None
    except (ValueError, KeyError) as fault:
        raise CorruptionError(f"{name}: at offset {reader.position}: {fault}") from None


def _read_snapshot(reader: JuteReader, data: bytes) -> FileSnapshot:
    magic, version, _ = bytes(reader.take(4)), reader.int32(), reader.int64()
    if magic != SNAPSHOT_MAGIC or version != VERSION:
        raise ValueError(f"not a ZooKeeper snapshot of version {VERSION}: {magic!r}, version {version}")
    sessions = {reader.int64(): reader.int32() for _ in range(reader.count())}
    acls = {reader.int64(): reader.acl() for _ in range(reader.count())}
    acls[-1] = (ACL(31, "world", "anyone"),)
    znodes = list(_read_znodes(reader, acls))
    _check_seal(reader, data)
    if reader.left >= 20:  # 3.6: zxid, digest version, digest of the tree
        reader.take(20)
        _check_seal(reader, data)
    if reader.left >= 8:  # 3.9: the last zxid
        reader.take(8)
        _check_seal(reader, data)
    return FileSnapshot(sessions, znodes)


def _read_znodes(reader: JuteReader, acls: dict[int, tuple[ACL, ...]]) -> Iterator[FileZnode]:
    while True:
        path = reader.text()
        if path == "/":
            return
        data, acl = reader.buffer(), acls[reader.int64()]
        czxid, mzxid, ctime, mtime, version, creates, aversion, owner, pzxid = reader.fields(_STAT)
        stat = (czxid, mzxid, ctime, mtime, version, creates, aversion, owner, pzxid)
        yield FileZnode(path or "/", data, acl, *stat)


def _check_seal(reader: JuteReader, data: bytes) -> None:
    """Read a seal: the Adler-32 of all bytes before it, and the path `/`. Raises ValueError if it is wrong."""
    expected = zlib.adler32(memoryview(data)[: reader.position])
    if reader.int64() != expected or reader.text() != "/":
        raise ValueError("the checksum is wrong")


def read_zookeeper_log(name: str, data: bytes) -> Iterator[FileTxn]:
    """Yield the entries of a log file up to its end.

    Raises CorruptionError for a file that is not a log, a wrong checksum, or an entry that is too short.
    """
    reader = JuteReader(data)
    try:
        magic, version, _ = bytes(reader.take(4)), reader.int32(), reader.int64()
        if magic != LOG_MAGIC or version != VERSION:
            raise CorruptionError(f"{name}: not a ZooKeeper log of version {VERSION}: {magic!r}, version {version}")
        while True:
            start = reader.position
            checksum, length = reader.fields(_ENTRY)
            if length <= 0:
                return
            payload = reader.take(length)
            if reader.take(1)[0] != _ENTRY_END:
                return
            if zlib.adler32(payload) != checksum:
                raise CorruptionError(f"{name}: at offset {start}: the checksum of the entry is wrong")
            if length < TXN_HEADER_BYTES:
                raise CorruptionError(f"{name}: at offset {start}: an entry of {length} bytes is too short")
            session, cxid, zxid, time_ms, kind = _TXN_HEADER.unpack(payload[:TXN_HEADER_BYTES])
            yield FileTxn(session, cxid, zxid, time_ms, kind, payload[TXN_HEADER_BYTES:])
    except Truncated:
        return
