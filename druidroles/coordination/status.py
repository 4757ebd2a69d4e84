"""Ours: what a process says of its size or its slots, in an ephemeral of its own below `…/coord/status/{role}`.

Druid's own announcements are written once and never again, so what changes lives here. A value is JSON; it is written
at most once a second, the newest wins.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import trio

from coordserver.client import Announcement, Client, announced
from coordserver.client.background import background
from coordserver.client.values import Node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, loads
from druidroles.coordination.tree_view import Take, View, decoded
from druidroles.model.decode import as_object
from druidroles.model.server import NodeRole

INTERVAL_S = 1.0


class StatusAnnouncer:
    """Made by `announced_status`."""

    def __init__(self, announcement: Announcement, value: Mapping[str, Any]) -> None:
        self._announcement = announcement
        self._value = dict(value)
        self._changed = trio.Event()

    @property
    def value(self) -> Mapping[str, Any]:
        """What was said last."""
        return self._value

    def say(self, **fields: Any) -> None:
        """Change some fields; returns at once, the tree has them within a second."""
        self._value.update(fields)
        self._changed.set()

    async def say_now(self, **fields: Any) -> None:
        """Change some fields; returns once the tree has them."""
        self._value.update(fields)
        await self._announcement.update(dumps(self._value))

    async def run(self) -> None:
        """Write what is said, for ever."""
        while True:
            await self._changed.wait()
            self._changed = trio.Event()
            data = dumps(self._value)
            if data != self._announcement.data:
                await self._announcement.update(data)
                await trio.sleep(INTERVAL_S)


@asynccontextmanager
async def announced_status(
    zk: Client, paths: DruidPaths, role: NodeRole, host_port: str, value: Mapping[str, Any]
) -> AsyncIterator[StatusAnnouncer]:
    """Announce a status for as long as the block lasts."""
    async with (
        announced(zk, paths.coord_status(role, host_port), dumps(value)) as announcement,
        background() as nursery,
    ):
        announcer = StatusAnnouncer(announcement, value)
        nursery.start_soon(announcer.run)
        yield announcer


class StatusView(View):
    """What the processes of one role say of themselves."""

    def __init__(self, zk: Client, paths: DruidPaths, role: NodeRole) -> None:
        super().__init__(zk)
        self._paths = paths
        self._role = role
        self.statuses: dict[str, Mapping[str, Any]] = {}

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [(f"{self._paths.coord_statuses}/{self._role.value}", self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        if len(parts) != 1:
            return
        path = self._paths.coord_status(self._role, parts[0])
        value = decoded(path, znode, lambda data: as_object(loads(data), "status"))
        if value is None:
            self.statuses.pop(parts[0], None)
        else:
            self.statuses[parts[0]] = value
