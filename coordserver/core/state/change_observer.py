"""Who is told of what is about to change: the seam between the state and a walk over it (walk.py), which knows the
state."""

from __future__ import annotations

from typing import Protocol

from coordserver.core.state.sessions import Session
from coordserver.core.state.znode import Znode


class ChangeObserver(Protocol):
    """Told before each change, for as long as it is in its place. It changes nothing and raises nothing."""

    def made(self, node: Znode) -> None:
        """A znode is new."""

    def changing(self, path: str, node: Znode) -> None:
        """A znode is about to change, or to go."""

    def made_session(self, session: Session) -> None:
        """A session is new."""

    def changing_session(self, session: Session) -> None:
        """A session is about to change, or to go."""
