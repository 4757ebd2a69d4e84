"""How old a Broker's view may be. A Broker without coordination servers goes on answering from what it knew last, and
says so: Druid's does the former silently.
"""

from __future__ import annotations

import trio

from coordserver.client import Client, SessionState
from druidroles.coordination.tree_view import View


class Freshness:
    """Follows the connection. `stale_s` is None while the view follows the tree."""

    def __init__(self, zk: Client, view: View) -> None:
        self._zk = zk
        self._view = view
        self._gone_since: float | None = None

    @property
    def stale_s(self) -> float | None:
        """For how many seconds the tree has not been followed."""
        return None if self._gone_since is None else trio.current_time() - self._gone_since

    async def run(self) -> None:
        """Follow, until the client is closed. A connection that is back counts once the view has caught up."""
        async with self._zk.states() as states:
            async for state in states:
                if state is not SessionState.CONNECTED:
                    self._gone_since = trio.current_time() if self._gone_since is None else self._gone_since
                elif self._gone_since is not None:
                    await self._view.wait_current()
                    if self._zk.state is SessionState.CONNECTED:
                        self._gone_since = None
