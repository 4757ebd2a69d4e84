"""A snapshot over HTTP: `/commands/snapshot`, as ZooKeeper 3.9's AdminServer names it. One is taken for the request,
and with `streaming=true` it is the response's body. The bytes are a snapshot file of ours, not of ZooKeeper's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from coordserver.wire.admin import http
from coordserver.wire.admin.http import Piece, Response
from coordserver.wire.admin.monitoring import SnapshotDownload

NAMES = ("snapshot", "snap")
STREAMING = "streaming"
PIECE_BYTES = 64 * 1024
_BINARY = "application/octet-stream"


def answer(download: SnapshotDownload, *, streaming: bool) -> Iterator[Piece]:
    """Head and body, once the snapshot is there."""
    try:
        while not download.done:
            yield None
        if not download.size:
            yield from _failed().pieces(with_body=True)
            return
        headers = (("last_zxid", f"{download.zxid:#x}"), ("snapshot_size", str(download.size)))
        if not streaming:
            about = {"last_zxid": f"{download.zxid:#x}", "snapshot_size": download.size}
            body = json.dumps({**about, "command": NAMES[0], "error": None})
            yield from Response(200, http.JSON, body, headers).pieces(with_body=True)
            return
        yield from Response(200, _BINARY, iter(()), headers).pieces(with_body=True)
        for offset in range(0, download.size, PIECE_BYTES):
            part = download.read(offset, PIECE_BYTES)
            yield part
            if len(part) < min(PIECE_BYTES, download.size - offset):
                return  # the disk failed; whoever reads it finds the file cut short
    finally:
        download.close()


def _failed() -> Response:
    body = json.dumps({"command": NAMES[0], "error": "the snapshot cannot be written; the server's log says why"})
    return Response(503, http.JSON, body)
