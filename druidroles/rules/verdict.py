"""What rules say of a segment."""

from __future__ import annotations

from collections.abc import Mapping

import attrs


@attrs.frozen
class Verdict:
    """What the first rule that applies to a segment asks for.

    `replicas`: copies by tier (all zero: the data stays in deep storage only). `drop`: mark it unused. `broadcast`: a
    copy on every server. `until_ms` is the wall-clock instant at which the verdict may change by the mere passing of
    time.
    """

    replicas: Mapping[str, int] = attrs.field(factory=dict)
    drop: bool = False
    broadcast: bool = False
    until_ms: int | None = None
