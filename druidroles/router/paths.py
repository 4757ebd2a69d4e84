"""Which paths a Router passes on: those that mean the same to everybody who reads them.

A path with dot segments, empty segments or backslashes is shortened by some readers and not by others, so that the one
who judges a path and the one who answers it may read two different paths.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from druidroles.http.errors import DruidHttpError

_DOTS = (b".", b"..")


def refuse_abnormal(raw_path: bytes) -> None:
    """DruidHttpError (400) for a raw path that is not normal, in itself or after it is decoded."""
    normal = raw_path.startswith(b"/") and b"//" not in raw_path
    normal = normal and not any(byte <= 0x20 or byte == 0x7F for byte in raw_path)
    for path in (raw_path, unquote_to_bytes(raw_path)):
        # What follows a semicolon is a parameter of the segment for some readers.
        dots = any(segment.partition(b";")[0] in _DOTS for segment in path.split(b"/"))
        normal = normal and not dots and b"\\" not in path
    if not normal:
        shown = raw_path.decode("ascii", "backslashreplace")
        raise DruidHttpError(400, f"the path {shown} is not normal: it has dot segments, empty ones, or a backslash")
