"""Writes whose outcome a lost connection took with it.

A server of ours is told again and knows what it did. A ZooKeeper cannot be: the write may have happened. What may
happen twice without harm is simply done again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from coordserver.client import BadVersionError, ConnectionLossError, NodeExistsError, NoNodeError, NotEmptyError
from coordserver.core.model.errors import BadArgumentsError, InvalidACLError, NoAuthError, TooLargeError

log = logging.getLogger(__name__)

T = TypeVar("T")

# What a server refuses about one znode, and would refuse again: nothing that is asked of others is concerned.
OF_ONE_ZNODE = (
    BadArgumentsError,
    NoAuthError,
    InvalidACLError,
    NoNodeError,
    NodeExistsError,
    NotEmptyError,
    BadVersionError,
    TooLargeError,
)

RETRY_S = 0.1  # the next try waits for a connection anyway


async def until_answered(write: Callable[[], Awaitable[T]]) -> T:
    """Write again while the answer is lost. Only for what is as good done twice."""
    while True:
        try:
            return await write()
        except ConnectionLossError as lost:
            log.info("writing again after: %s", lost)
        await trio.sleep(RETRY_S)
