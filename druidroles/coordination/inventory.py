"""Which server serves which segments: the announcements and the batches of announced segments, followed.

Druid's BatchServerInventoryView. A segment may stand in two batches of a server while it is moved from one to the
other, so (server, segment) pairs are counted by batch. A server's segments count while the server itself is announced;
its batches may be seen before or after it. Deltas are told to one consumer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coordserver.client import Client
from coordserver.client.values import Node
from druidroles.coordination.changes import Deltas
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import loads
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.decode import ModelError, as_object
from druidroles.model.segment import DataSegment
from druidroles.model.server import DruidServerMetadata


def read_batch(data: bytes, known: Mapping[str, DataSegment] | None = None) -> dict[str, DataSegment]:
    """The segments of a batch by id, those of `known` as the same objects. Raises ModelError where it is none."""
    value = loads(data, duplicates=False)
    if not isinstance(value, list):
        raise ModelError("a batch of segments is not an array")
    segments = (_read_segment(as_object(item, "segment"), known or {}) for item in value)
    return {segment.id: segment for segment in segments}


def _read_segment(obj: Mapping[str, Any], known: Mapping[str, DataSegment]) -> DataSegment:
    """Most segments are announced by several servers; to read each once saves half of the time and the memory."""
    written = obj.get("identifier")
    same = known.get(written) if isinstance(written, str) else None
    if same is not None and (same.size, same.version) == (obj.get("size"), obj.get("version")):
        return same
    return DataSegment.from_json(obj)


class ServerInventory(View):
    """Announced servers by name, and what they serve.

    `server_deltas` has keys host:port; `segment_deltas` keys (host:port, segment id). When a server goes, the removal
    of each of its segments is told too, and when it comes, the addition of each.
    """

    def __init__(self, zk: Client, paths: DruidPaths) -> None:
        super().__init__(zk)
        self.servers: dict[str, DruidServerMetadata] = {}
        self.server_deltas: Deltas[str, DruidServerMetadata] = Deltas()
        self.segment_deltas: Deltas[tuple[str, str], DataSegment] = Deltas()
        self._paths = paths
        self._batches: dict[tuple[str, str], dict[str, DataSegment]] = {}
        self._served: dict[str, dict[str, DataSegment]] = {}
        self._more: dict[tuple[str, str], int] = {}  # in how many batches beyond the first it stands
        self._copies: dict[str, int] = {}
        self._segments: dict[str, DataSegment] = {}

    def segments_of(self, server: str) -> Mapping[str, DataSegment]:
        """What an announced server serves, by id; nothing for one that is not announced. Not to be changed."""
        return self._served.get(server, {}) if server in self.servers else {}

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(self._paths.announcements, self._take_server), (self._paths.segments, self._take_batch)]

    def _take_server(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 1:
            return
        name = parts[0]
        path = self._paths.announcement(name)
        new = decoded(path, znode, lambda data: DruidServerMetadata.from_json(loads(data)))
        old = self.servers.pop(name, None)
        if new is not None:
            self.servers[name] = new
        self.server_deltas.put(name, old, new)
        if (old is None) == (new is None):
            return
        for segment_id, segment in self._served.get(name, {}).items():
            self.segment_deltas.put(
                (name, segment_id), segment if new is None else None, segment if new is not None else None
            )

    def _take_batch(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 2:
            return
        server, batch = parts
        path = f"{self._paths.segments_of(server)}/{batch}"
        new = decoded(path, znode, lambda data: read_batch(data, self._segments)) or {}
        old = self._batches.pop((server, batch), {})
        if new:
            self._batches[server, batch] = new
        announced = server in self.servers
        served = self._served.setdefault(server, {})
        for segment_id, segment in new.items():
            if segment_id not in old and self._comes(server, served, segment_id, segment) and announced:
                self.segment_deltas.put((server, segment_id), None, segment)
        for segment_id, segment in old.items():
            if segment_id not in new and self._goes(server, served, segment_id) and announced:
                self.segment_deltas.put((server, segment_id), segment, None)
        if not served:
            del self._served[server]

    def _comes(self, server: str, served: dict[str, DataSegment], segment_id: str, segment: DataSegment) -> bool:
        """A batch names a segment; whether it is the first of this server that does."""
        if segment_id in served:
            self._more[server, segment_id] = self._more.get((server, segment_id), 0) + 1
            return False
        served[segment_id] = segment
        copies = self._copies[segment_id] = self._copies.get(segment_id, 0) + 1
        if copies == 1:
            self._segments[segment_id] = segment
        return True

    def _goes(self, server: str, served: dict[str, DataSegment], segment_id: str) -> bool:
        """A batch does not name a segment any more; whether it was the last of this server that did."""
        more = self._more.get((server, segment_id), 0)
        if more > 1:
            self._more[server, segment_id] = more - 1
        elif more:
            del self._more[server, segment_id]
        if more:
            return False
        del served[segment_id]
        self._copies[segment_id] -= 1
        if not self._copies[segment_id]:
            del self._copies[segment_id], self._segments[segment_id]
        return True
