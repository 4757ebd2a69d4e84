"""The first 64 bytes of every file: what it is, and which version of the format.

| offset | bytes | field |
| ---: | ---: | --- |
| 0 | 8 | magic: `COORDLOG` or `COORDSNP` |
| 8 | 4 | format version, from 1; of a log and of a snapshot each by itself |
| 12 | 16 | history id |
| 28 | 8 | index: of the first record of a log segment, of the last one in a snapshot |
| 36 | 4 | log: checksum of the last batch of the segment before, 0 in the first; snapshot: 0 |
| 40 | 8 | salt, random |
| 48 | 12 | zeros |
| 60 | 4 | CRC-32 of the 60 bytes before |

Integers are big-endian. Magic, version and the place of the checksum stay the same in all versions to come, so that
an old server can tell "newer" from "damaged".

The checksum of the header is where all other checksums of the file start from. That binds what follows to this very
file, and since clients do not know the salt, nobody can write data into a znode that passes for a batch.
"""

from __future__ import annotations

import struct
from zlib import crc32

import attrs

from coordserver.storage.errors import CorruptionError, NewerFormatError

LOG_MAGIC = b"COORDLOG"
SNAPSHOT_MAGIC = b"COORDSNP"
LOG_VERSION = 1
SNAPSHOT_VERSION = 2
_KNOWN = {LOG_MAGIC: LOG_VERSION, SNAPSHOT_MAGIC: SNAPSHOT_VERSION}
HEADER_BYTES = 64
SALT_BYTES = 8
_BODY = struct.Struct(">8sI16sQI8s12x")
_CRC = struct.Struct(">I")


@attrs.frozen
class FileHeader:
    """The fields that a writer chooses."""

    magic: bytes
    history_id: bytes
    index: int
    chain: int
    salt: bytes
    version: int = LOG_VERSION


def encode_header(header: FileHeader) -> bytes:
    """64 bytes."""
    fields = (header.history_id, header.index, header.chain, header.salt)
    body = _BODY.pack(header.magic, header.version, *fields)
    return body + _CRC.pack(crc32(body))


def decode_header(name: str, data: bytes, magic: bytes) -> tuple[FileHeader, int]:
    """The header of the file `name` and its checksum.

    Raises CorruptionError (too short, other magic, wrong checksum) or NewerFormatError, each naming the file.
    """
    if len(data) < HEADER_BYTES:
        raise CorruptionError(f"{name}: only {len(data)} bytes long, the header alone has {HEADER_BYTES}")
    body = data[: HEADER_BYTES - _CRC.size]
    (crc,) = _CRC.unpack_from(data, len(body))
    found, version, history_id, index, chain, salt = _BODY.unpack(body)
    if found != magic:
        raise CorruptionError(f"{name}: begins with {found!r} instead of {magic!r}")
    if crc32(body) != crc:
        raise CorruptionError(f"{name}: the header's checksum is wrong")
    if not 0 < version <= _KNOWN[magic]:
        raise NewerFormatError(
            f"{name}: format version {version}, this server knows {_KNOWN[magic]}; start the newer server on it"
        )
    return FileHeader(found, history_id, index, chain, salt, version), crc
