"""The Coordinator's picture of the cluster: who holds which segment, what is on its way, what to look at again.

One mutable object, changed by events (a server came, a batch was announced, a request was written) and read by the
planners. Three ideas carry it:

* **Projection.** What a planner decides is entered at once: a segment ordered to a server counts there as *loading*,
  one ordered away as *dropping*. So the next decision sees the last one, and nothing is ordered twice.
* **Moves.** A segment that moves is *loading* on its target and *leaving* its source, where it counts as served until
  it is dropped, but no longer for the balance. So a move changes the number of copies at no time, and if it comes to
  nothing the copy is where it was.
* **Dirt.** An event marks the segments whose verdict may have changed. The planners look at those only, so the work
  follows the change and not the number of segments. Segments of which no server holds a copy go before all others
  (`urgent`), the rest in the order in which they were marked.

Only servers that replicate (Historicals and bridges, as in Druid's ServerType) count as holding copies; tasks that
still serve what they have just built do not. No clock and no I/O: times are passed in, in milliseconds of a monotonic
clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator

import attrs

from druidroles.balancer.cost import ServerCosts
from druidroles.model.segment import DataSegment

REPLICATING_TYPES = frozenset({"historical", "bridge"})


@attrs.define(eq=False)
class Loading:
    """A segment ordered to a server and not announced by it yet."""

    segment: DataSegment
    tier: str  # of the server when it was ordered
    started: bool = False  # the Historical has begun: it can no longer be cancelled
    primary: bool = False  # no copy was held anywhere when it was ordered
    source: str | None = None  # the server that the segment is moved from
    late: bool = False  # begun, and not done within PT15M: another server is to load it too


@attrs.define(eq=False)
class Server:
    """One segment-serving process and what it holds. Sizes in bytes, as the segments declare them."""

    name: str
    tier: str
    type: str = "historical"
    priority: int = 0
    max_size: int = 0
    decommissioning: bool = False
    stopping: bool = False  # it has said that it is about to go
    served: dict[str, DataSegment] = attrs.field(factory=dict)
    loading: dict[str, Loading] = attrs.field(factory=dict)
    dropping: dict[str, bool] = attrs.field(factory=dict)  # segment id -> started, so not to be cancelled
    leaving: dict[str, str] = attrs.field(factory=dict)  # segment id -> the server it is moved to
    costs: ServerCosts = attrs.field(factory=ServerCosts)  # of what it will hold once everything ordered is done
    served_bytes: int = 0
    loading_bytes: int = 0
    dropping_bytes: int = 0

    @property
    def replicates(self) -> bool:
        """True where its copies count and it is a target of load rules."""
        return self.type in REPLICATING_TYPES

    @property
    def projected_bytes(self) -> int:
        """What it will hold once everything ordered is done."""
        return self.served_bytes + self.loading_bytes - self.dropping_bytes

    @property
    def free_bytes(self) -> int:
        """Room for further orders (Druid's test of an eligible server: maxSize - (currSize + loading - dropping))."""
        return self.max_size - self.projected_bytes

    @property
    def fill(self) -> float:
        """The part of its size that it will use once everything ordered is done."""
        return self.fill_with(0)

    def fill_with(self, more_bytes: int) -> float:
        """The same, with so much more."""
        if self.max_size <= 0:
            return 1.0
        return (self.served_bytes + self.loading_bytes - self.dropping_bytes + more_bytes) / self.max_size

    def involved(self, segment_id: str) -> bool:
        """True if it serves the segment, or an order about it is on its way."""
        return segment_id in self.served or segment_id in self.loading


class Cluster:
    """All servers, an index from segment to servers, and the segments to look at again."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._tiers: dict[str, dict[str, Server]] = {}
        self._holders: dict[str, dict[str, Server]] = {}
        self._announced_ms: dict[str, int] = {}
        # Ordered ones give their first away in no time; of a dict that was long, each takes a walk over what has gone.
        self._urgent: OrderedDict[str, None] = OrderedDict()
        self._dirty: OrderedDict[str, None] = OrderedDict()
        self.replicas_in_flight: dict[str, int] = {}  # tier -> loads beyond a first copy
        self.moves_in_flight: dict[str, int] = {}  # tier -> loads of segments that move
        self.placements = 0  # how often a copy came or went

    # -- questions ----------------------------------------------------------------------------------------------------

    def tier(self, name: str) -> Iterable[Server]:
        """The replicating servers of a tier, in the order in which they came."""
        return self._tiers.get(name, {}).values()

    def tiers(self) -> Iterable[str]:
        """The names of the tiers that have a server."""
        return self._tiers.keys()

    def holders(self, segment_id: str) -> Iterable[Server]:
        """The replicating servers that serve the segment or have been told to load it."""
        return self._holders.get(segment_id, {}).values()

    def copies(self, segment_id: str) -> int:
        """How many replicating servers serve it now, those about to drop it not counted."""
        holders = self._holders.get(segment_id, {}).values()
        return sum(1 for s in holders if segment_id in s.served and segment_id not in s.dropping)

    def is_move(self, server: Server, segment_id: str) -> bool:
        """Whether the load of it on this server takes the place of a copy that is still served."""
        order = server.loading.get(segment_id)
        source = None if order is None or order.source is None else self.servers.get(order.source)
        return (
            source is not None
            and source.leaving.get(segment_id) == server.name
            and segment_id not in source.dropping
            and source.tier == server.tier
        )

    def segment_ids(self) -> Iterable[str]:
        """Every segment that some replicating server holds or loads."""
        return self._holders.keys()

    def announced_ms(self, segment_id: str) -> int:
        """When the newest announcement of the segment was seen; 0 if none was."""
        return self._announced_ms.get(segment_id, 0)

    # -- servers ------------------------------------------------------------------------------------------------------

    def add_server(self, server: Server) -> Server:
        """A server came, or its metadata changed. What is known of its segments stays."""
        known = self.servers.get(server.name)
        if known is None:
            self.servers[server.name] = server
            known = server
        else:
            self._leave_tier(known)
            known.tier, known.type, known.priority = server.tier, server.type, server.priority
            known.max_size = server.max_size
        if known.replicates:
            self._tiers.setdefault(known.tier, {})[known.name] = known
        return known

    def remove_server(self, name: str) -> list[str]:
        """A server went, and all its copies and orders with it. Returns the segments it served, now marked."""
        server = self.servers.pop(name, None)
        if server is None:
            return []
        self._leave_tier(server)
        served = list(server.served)
        for segment_id in list(server.loading):
            self.end_load(server, segment_id)
        for segment_id in served:
            self._forget_copy(server, segment_id)
        return served

    def _leave_tier(self, server: Server) -> None:
        members = self._tiers.get(server.tier)
        if members is not None:
            members.pop(server.name, None)
            if not members:
                del self._tiers[server.tier]

    # -- copies -------------------------------------------------------------------------------------------------------

    def add_served(self, server: Server, segment: DataSegment, now_ms: int) -> None:
        """A server announced a segment. A load of it that was on its way there is done."""
        segment_id = segment.id
        if server.replicates:
            self._announced_ms[segment_id] = now_ms
        if segment_id in server.served:
            return
        if not self._end_loading(server, segment_id):
            server.costs.add(segment)
        server.served[segment_id] = segment
        server.served_bytes += segment.size
        self.placements += 1
        if server.replicates:
            self._holders.setdefault(segment_id, {})[server.name] = server
            self.mark(segment_id)

    def remove_served(self, server: Server, segment_id: str) -> None:
        """A server stopped announcing a segment. A drop of it that was on its way there is done."""
        if segment_id in server.served:
            self._forget_copy(server, segment_id)

    def _forget_copy(self, server: Server, segment_id: str) -> None:
        self.end_drop(server, segment_id)
        self.end_leaving(server, segment_id)
        segment = server.served.pop(segment_id)
        server.served_bytes -= segment.size
        server.costs.remove(segment)
        self.placements += 1
        for holder in self.holders(segment_id):
            if holder.leaving.get(segment_id) == server.name:
                self.end_leaving(holder, segment_id)
        self._unhold(server, segment_id)
        if server.replicates:
            self.mark(segment_id)

    def _unhold(self, server: Server, segment_id: str) -> None:
        holders = self._holders.get(segment_id)
        if holders is None or segment_id in server.loading or segment_id in server.served:
            return
        holders.pop(server.name, None)
        if not holders:
            del self._holders[segment_id]
            self._announced_ms.pop(segment_id, None)

    # -- orders -------------------------------------------------------------------------------------------------------

    def begin_load(self, server: Server, segment: DataSegment, *, primary: bool, source: Server | None = None) -> None:
        """A load was ordered; it counts from now on. With `source` it is a move from there."""
        if server.involved(segment.id):
            return
        order = Loading(segment, server.tier, primary=primary, source=None if source is None else source.name)
        server.loading[segment.id] = order
        server.loading_bytes += segment.size
        server.costs.add(segment)
        if server.replicates:
            self._holders.setdefault(segment.id, {})[server.name] = server
        in_flight = self._in_flight(order)
        if in_flight is not None:
            in_flight[server.tier] = in_flight.get(server.tier, 0) + 1
        if source is not None and segment.id in source.served and segment.id not in source.leaving:
            source.leaving[segment.id] = server.name
            if segment.id not in source.dropping:
                source.costs.remove(segment)

    def _in_flight(self, order: Loading) -> dict[str, int] | None:
        """Where an order counts while it is on its way."""
        if order.source is not None:
            return self.moves_in_flight
        return None if order.primary else self.replicas_in_flight

    def end_load(self, server: Server, segment_id: str) -> None:
        """A load will not come to anything any more: refused, failed, cancelled or gone. The segment is marked."""
        order = server.loading.get(segment_id)
        if order is None:
            return
        self._end_loading(server, segment_id)
        server.costs.remove(order.segment)
        source = None if order.source is None else self.servers.get(order.source)
        if source is not None and source.leaving.get(segment_id) == server.name:
            self.end_leaving(source, segment_id)
        self._unhold(server, segment_id)
        self.mark(segment_id)

    def _end_loading(self, server: Server, segment_id: str) -> bool:
        order = server.loading.pop(segment_id, None)
        if order is None:
            return False
        server.loading_bytes -= order.segment.size
        in_flight = self._in_flight(order)
        if in_flight is not None:
            in_flight[order.tier] -= 1
        return True

    def end_leaving(self, server: Server, segment_id: str) -> None:
        """The copy is not moved away any more: it is gone, or it stays."""
        if server.leaving.pop(segment_id, None) is not None and segment_id not in server.dropping:
            server.costs.add(server.served[segment_id])

    def begin_drop(self, server: Server, segment_id: str) -> None:
        """A drop was ordered; the copy no longer counts."""
        if segment_id in server.served and segment_id not in server.dropping:
            server.dropping[segment_id] = False
            server.dropping_bytes += server.served[segment_id].size
            if segment_id not in server.leaving:
                server.costs.remove(server.served[segment_id])

    def end_drop(self, server: Server, segment_id: str) -> None:
        """A drop is over: done, cancelled or gone. The segment is marked."""
        if server.dropping.pop(segment_id, None) is not None:
            server.dropping_bytes -= server.served[segment_id].size
            if segment_id not in server.leaving:
                server.costs.add(server.served[segment_id])
            self.mark(segment_id)

    # -- dirt ---------------------------------------------------------------------------------------------------------

    def mark(self, segment_id: str) -> None:
        """The verdict on this segment may have changed."""
        if segment_id not in self._holders:
            self._urgent[segment_id] = None
        else:
            self._dirty[segment_id] = None

    def has_dirt(self) -> bool:
        """True if some segment must be looked at again."""
        return bool(self._urgent or self._dirty)

    def take_urgent(self, count: int) -> Iterator[str]:
        """Up to `count` segments without any copy or load; they stay marked for their further replicas."""
        for _ in range(min(count, len(self._urgent))):
            segment_id, _ = self._urgent.popitem(last=False)
            self._dirty[segment_id] = None
            yield segment_id

    def take_dirty(self, count: int) -> Iterator[str]:
        """Up to `count` marked segments, each unmarked as it is handed out."""
        for _ in range(min(count, len(self._dirty))):
            yield self._dirty.popitem(last=False)[0]
