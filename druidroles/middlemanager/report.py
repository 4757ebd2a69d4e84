"""A task's report, live and final, in Druid's shape (IngestionStatsAndErrorsTaskReport)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from druidroles.model.decode import ModelError, as_object, get_int, get_list, need_object
from druidroles.model.segment import DataSegment
from druidroles.segments.build import RowStats

_PUSHED = "pushedSegments"


class Progress:
    """How far a task has come. `ingestion_state` is one of Druid's: NOT_STARTED, BUILD_SEGMENTS, COMPLETED."""

    def __init__(self, task_id: str) -> None:
        self.stats = RowStats()
        self.ingestion_state = "NOT_STARTED"
        self.error_msg: str | None = None
        self.pushed: list[DataSegment] | None = None  # of a sub-task: what its supervisor is to publish
        self._task_id = task_id

    def enter(self, ingestion_state: str) -> None:
        """The next phase has begun."""
        self.ingestion_state = ingestion_state

    def row_stats(self) -> dict[str, Any]:
        """What became of the rows so far. Partitions are determined by the building itself, in one pass."""
        return {"determinePartitions": RowStats().to_json(), "buildSegments": self.stats.to_json()}

    def to_json(self) -> dict[str, Any]:
        """The report."""
        report: dict[str, Any] = {
            "ingestionStatsAndErrors": {
                "type": "ingestionStatsAndErrors",
                "taskId": self._task_id,
                "payload": {
                    "ingestionState": self.ingestion_state,
                    "unparseableEvents": {},
                    "rowStats": self.row_stats(),
                    "errorMsg": self.error_msg,
                    "segmentAvailabilityConfirmed": False,
                    "segmentAvailabilityWaitTimeMs": 0,
                },
            }
        }
        if self.pushed is not None:
            report[_PUSHED] = {
                "type": _PUSHED,
                "taskId": self._task_id,
                "payload": {"segments": [segment.to_json() for segment in self.pushed]},
            }
        return report


def read_sub_report(report: Any) -> tuple[list[DataSegment], RowStats]:
    """What a sub-task has pushed and what became of its rows; raises ModelError."""
    obj = as_object(report, "report")
    payload = need_object(need_object(obj, _PUSHED), "payload")
    segments = []
    for value in get_list(payload, "segments"):
        if not isinstance(value, Mapping):
            raise ModelError("segments is not a list of segments")
        segments.append(DataSegment.from_json(value))
    stats = need_object(need_object(need_object(obj, "ingestionStatsAndErrors"), "payload"), "rowStats")
    return segments, _row_stats(need_object(stats, "buildSegments"))


def _row_stats(obj: Mapping[str, Any]) -> RowStats:
    return RowStats(
        processed=get_int(obj, "processed", 0),
        processed_bytes=get_int(obj, "processedBytes", 0),
        processed_with_error=get_int(obj, "processedWithError", 0),
        thrown_away=get_int(obj, "thrownAway", 0),
        unparseable=get_int(obj, "unparseable", 0),
    )
