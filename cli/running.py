"""From a command to a trio run and back to an exit code: known errors are one line, everything else a traceback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import click
import trio


class CommandFailedError(click.ClickException):
    """Something went wrong that the operator can do something about; the message is one line, the exit code 1."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.ctx = click.get_current_context(silent=True)


def leaves(fault: BaseException) -> Iterator[BaseException]:
    """The exceptions inside a group, however deep; of anything else itself."""
    if isinstance(fault, BaseExceptionGroup):
        for part in fault.exceptions:
            yield from leaves(part)
    else:
        yield fault


def run(main: Callable[[], Awaitable[None]], *known: type[Exception]) -> None:
    """Run `main` in trio. If all it raises is of the types in `known`, raise CommandFailedError with their texts."""
    try:
        trio.run(main)
    except BaseException as fault:
        found = list(leaves(fault))
        if not all(isinstance(part, known) for part in found):
            raise
        lines = dict.fromkeys(" ".join(str(part).split()) or type(part).__name__ for part in found)
        raise CommandFailedError("; ".join(lines)) from None  # noqa: ASYNC104 - outside trio
