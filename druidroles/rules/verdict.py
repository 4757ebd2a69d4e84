"""The verdict of the rules on a segment."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Verdict:
    """The verdict of the first rule that applies to a segment.

    `replicas` is the number of copies by tier; if all are zero, the segment stays in deep storage only. `drop` marks
    the segment unused. `broadcast` asks for a copy on every server. `until_ms` is the wall-clock instant, in epoch
    milliseconds, before which the verdict does not change; None means that time never changes it.
    """

    replicas: Mapping[str, int] = attrs.field(factory=dict)
    drop: bool = False
    broadcast: bool = False
    until_ms: int | None = None
