"""Who wants to know the session's state hears every change, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from coordserver.client.values import SessionState

_STATES_KEPT = 64  # a listener that sleeps through more changes than this loses the oldest


class StateStream:
    """An asynchronous iterator of states, beginning with the state there is. It ends after CLOSED."""

    def __init__(self, first: SessionState) -> None:
        self._states: deque[SessionState] = deque([first], maxlen=_STATES_KEPT)
        self._lot = trio.lowlevel.ParkingLot()
        self._ended = False

    def push(self, state: SessionState) -> None:
        """Called by the board."""
        self._states.append(state)
        self._lot.unpark_all()

    def __aiter__(self) -> StateStream:
        return self

    async def __anext__(self) -> SessionState:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended and not self._states:
            raise StopAsyncIteration
        while not self._states:
            await self._lot.park()
        state = self._states.popleft()
        self._ended = state is SessionState.CLOSED
        return state


class StateBoard:
    """The current state and its listeners."""

    def __init__(self) -> None:
        self._state = SessionState.CONNECTING
        self._streams: list[StateStream] = []

    @property
    def state(self) -> SessionState:
        return self._state

    def set(self, state: SessionState) -> None:
        """Change the state; telling the same again tells nobody."""
        if state is not self._state:
            self._state = state
            for stream in self._streams:
                stream.push(state)

    @contextmanager
    def listen(self) -> Iterator[StateStream]:
        """A stream of states for as long as the block lasts."""
        stream = StateStream(self._state)
        self._streams.append(stream)
        try:
            yield stream
        finally:
            self._streams.remove(stream)
