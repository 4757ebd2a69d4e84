"""Where everything lies in the tree: Druid's classic layout below one base, and ours below `{base}/coord`.

Sources: Druid's ZkPathsConfig and IndexerZkConfig for the classic paths. Parents that Druid's recipes make as
containers are persistent here, so that no watch on one is orphaned when a server reaps it.
"""

from __future__ import annotations

import attrs

from druidroles.model.server import NodeRole


def _absolute(base: str) -> str:
    stripped = "/" + base.strip("/")
    if stripped == "/" or "//" in stripped:
        raise ValueError(f"{base!r} is not a base path such as /druid")
    return stripped


@attrs.frozen
class DruidPaths:
    """The paths of one cluster. `base` is Druid's `druid.zk.paths.base`, with a leading slash and none at the end."""

    base: str = attrs.field(default="/druid", converter=_absolute)

    @property
    def announcements(self) -> str:
        """One ephemeral per segment-serving process."""
        return f"{self.base}/announcements"

    def announcement(self, host_port: str) -> str:
        """The announcement of one server."""
        return f"{self.base}/announcements/{host_port}"

    @property
    def segments(self) -> str:
        """Below it a directory per server, with batches of announced segments."""
        return f"{self.base}/segments"

    def segments_of(self, host_port: str) -> str:
        """The directory of one server's batches."""
        return f"{self.base}/segments/{host_port}"

    @property
    def load_queue(self) -> str:
        """Below it a directory per server, with one entry per segment to load or drop."""
        return f"{self.base}/loadQueue"

    def load_queue_of(self, host_port: str) -> str:
        """The load queue of one server."""
        return f"{self.base}/loadQueue/{host_port}"

    def load_request(self, host_port: str, segment_id: str) -> str:
        """One entry of a load queue."""
        return f"{self.base}/loadQueue/{host_port}/{segment_id}"

    @property
    def coordinator_latch(self) -> str:
        """The parent of the Coordinators' latch znodes."""
        return f"{self.base}/coordinator/_COORDINATOR"

    @property
    def overlord_latch(self) -> str:
        """The parent of the Overlords' latch znodes."""
        return f"{self.base}/overlord/_OVERLORD"

    @property
    def indexer(self) -> str:
        """All that Overlords and workers tell each other: announcements, assignments and statuses lie below it."""
        return f"{self.base}/indexer"

    @property
    def indexer_announcements(self) -> str:
        """One ephemeral per worker."""
        return f"{self.base}/indexer/announcements"

    def worker(self, host_port: str) -> str:
        """The announcement of one worker."""
        return f"{self.base}/indexer/announcements/{host_port}"

    @property
    def tasks(self) -> str:
        """Below it a directory per worker, with its assignments."""
        return f"{self.base}/indexer/tasks"

    def tasks_of(self, host_port: str) -> str:
        """The assignments of one worker."""
        return f"{self.base}/indexer/tasks/{host_port}"

    def task(self, host_port: str, task_id: str) -> str:
        """One assignment."""
        return f"{self.base}/indexer/tasks/{host_port}/{task_id}"

    @property
    def status(self) -> str:
        """Below it a directory per worker, with what it says of its tasks."""
        return f"{self.base}/indexer/status"

    def status_of(self, host_port: str) -> str:
        """The task statuses of one worker."""
        return f"{self.base}/indexer/status/{host_port}"

    def task_status(self, host_port: str, task_id: str) -> str:
        """The status of one task at one worker."""
        return f"{self.base}/indexer/status/{host_port}/{task_id}"

    def discovery(self, role: NodeRole) -> str:
        """The directory in which the processes of a role announce themselves: upper case, as Druid's enum is spelt."""
        return f"{self.base}/internal-discovery/{role.name}"

    def discovery_node(self, role: NodeRole, host_port: str) -> str:
        """One process of a role."""
        return f"{self.base}/internal-discovery/{role.name}/{host_port}"

    @property
    def coord_statuses(self) -> str:
        """Ours: what processes say of their size and slots, a directory per role."""
        return f"{self.base}/coord/status"

    def coord_status(self, role: NodeRole, host_port: str) -> str:
        """Ours: what one process says of itself."""
        return f"{self.base}/coord/status/{role.value}/{host_port}"

    @property
    def coord_published(self) -> str:
        """Ours: set after segments were published to the metadata store."""
        return f"{self.base}/coord/published"

    def layout(self) -> tuple[str, ...]:
        """The persistent directories every cluster has; all are made at the start, so that no reader need ask."""
        return (
            self.announcements,
            self.segments,
            self.load_queue,
            self.coordinator_latch,
            self.overlord_latch,
            self.indexer_announcements,
            self.tasks,
            self.status,
            *(self.discovery(role) for role in NodeRole),
            *(f"{self.coord_statuses}/{role.value}" for role in NodeRole),
        )
