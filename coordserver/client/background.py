"""Run a task beside a `with` body, and let the body's own exception out bare.

A nursery wraps whatever passes through it into an exception group. For a context manager that merely has a helper task
that is a nuisance: `async with connect(...)` must let a NoNodeError raised in its body be caught as NoNodeError. So the
body's exception goes round the nursery; a helper's exception is a fault of ours and comes as the group it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio


@asynccontextmanager
async def background() -> AsyncIterator[trio.Nursery]:
    """A nursery whose tasks are cancelled when the body ends, and whose body raises bare exceptions."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
            failure = error
        nursery.cancel_scope.cancel(reason="the body has ended")
    if failure is not None:
        raise failure


def split_failure(error: BaseException) -> tuple[Exception | None, BaseException | None]:
    """What of an error is a failure, and what must rise further: Cancelled, KeyboardInterrupt.

    A group may hold both at once. A failure that is alone in its groups comes without them.
    """
    failure: BaseException | None = error
    rest: BaseException | None = None
    if isinstance(error, BaseExceptionGroup):
        failure, rest = error.split(Exception)
    while isinstance(failure, BaseExceptionGroup) and len(failure.exceptions) == 1:
        failure = failure.exceptions[0]
    if failure is None or isinstance(failure, Exception):
        return failure, rest
    return None, failure
