"""Pushing built segments to deep storage, one after the other, in a thread."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import trio

from druidroles.deepstorage import DeepStorage
from druidroles.model.segment import DataSegment
from druidroles.segments.build import BuiltSegment

log = logging.getLogger(__name__)


async def push_all(
    built: Sequence[BuiltSegment], describe: Callable[[BuiltSegment], DataSegment], deep_storage: DeepStorage
) -> list[DataSegment]:
    """Push what was built, each under the description that `describe` gives it. Raises DeepStorageError."""
    segments: list[DataSegment] = []
    for number, one in enumerate(built, 1):
        segment = await trio.to_thread.run_sync(partial(deep_storage.push, describe(one), one.path))
        log.info("pushed %d of %d: %s, %d rows, %d bytes", number, len(built), segment, one.rows, one.size)
        segments.append(segment)
    return segments
