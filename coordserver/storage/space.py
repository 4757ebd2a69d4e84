"""How full the disk is, and what that leaves to be done. Pure.

    enough                                         everything is written
    low      less is free than the reserve         what makes room is written, into the reserve
    none     the log can take only a few MiB       nothing is written

The reserve holds a snapshot and two segments of the log: a snapshot is what makes log and older snapshots superfluous,
and the segments take the deletes that shrink it. The snapshot will hold what is written until the disk is looked at
again, which is at the latest when the log begins another segment: so what is left of this one counts as the snapshot's.
What the log can take is what is left of its segment, which is preallocated, and what whole segments still fit. Low ends
a little above where it began, so that it does not flicker.
"""

from __future__ import annotations

import attrs

from coordserver.core.model.disk_space import DiskSpace

LAST_BYTES = 4 * 1024 * 1024
"""What the log must at least be able to take; of a small segment a quarter."""

_ZNODE_BYTES = 110
"""About what a znode takes in a snapshot beside its data."""
_OTHER_BYTES = 200
"""About what a session or an event takes there."""


@attrs.frozen
class SpacePolicy:
    """`reserve_bytes` 0: two segments and a snapshot, with what can be written before the next look."""

    segment_bytes: int
    reserve_bytes: int = 0

    def reserve(self, segment_left: int, snapshot_bytes: int) -> int:
        """What must be free for everything to be written."""
        return self.reserve_bytes or 2 * self.segment_bytes + segment_left + snapshot_bytes

    def judge(self, before: DiskSpace, free: int, segment_left: int, snapshot_bytes: int) -> DiskSpace:
        """How full the disk is. `segment_left`: what the log's segment can still take; `snapshot_bytes`: what a
        snapshot would take now.
        """
        last = min(LAST_BYTES, self.segment_bytes // 4)
        whole_segments = max(0, free - last) // self.segment_bytes
        if segment_left + whole_segments * self.segment_bytes < last:
            return DiskSpace.NONE
        reserve = self.reserve(segment_left, snapshot_bytes)
        if before is not DiskSpace.ENOUGH:
            reserve += self.segment_bytes // 4
        return DiskSpace.LOW if free < reserve else DiskSpace.ENOUGH


def estimated_snapshot_bytes(znodes: int, data_bytes: int, others: int, last_bytes: int) -> int:
    """About what the next snapshot takes, rather too much. `others`: sessions and events; `last_bytes`: what the last
    one took.
    """
    return max(data_bytes + znodes * _ZNODE_BYTES + others * _OTHER_BYTES, last_bytes)
