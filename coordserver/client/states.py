"""The session's state, and streams that report every change of it in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from coordserver.client.values import SessionState

_STATES_KEPT = 64  # if a listener falls further behind, its stream drops the oldest states


class StateStream:
    """An asynchronous iterator of states. It begins with the current state and ends after CLOSED."""

    def __init__(self, first: SessionState) -> None:
        self._states: deque[SessionState] = deque([first], maxlen=_STATES_KEPT)
        self._waiters = trio.lowlevel.ParkingLot()
        self._ended = False

    def push(self, state: SessionState) -> None:
        """Append a state. Only StateBoard calls it."""
        self._states.append(state)
        self._waiters.unpark_all()

    def __aiter__(self) -> StateStream:
        return self

    async def __anext__(self) -> SessionState:
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._ended and not self._states:
            raise StopAsyncIteration
        while not self._states:
            await self._waiters.park()
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
        """Change the state and notify the listeners. The same state again has no effect."""
        if state is not self._state:
            self._state = state
            for stream in self._streams:
                stream.push(state)

    @contextmanager
    def listen(self) -> Iterator[StateStream]:
        """Yield a stream of states, which receives changes until the block ends."""
        stream = StateStream(self._state)
        self._streams.append(stream)
        try:
            yield stream
        finally:
            self._streams.remove(stream)
