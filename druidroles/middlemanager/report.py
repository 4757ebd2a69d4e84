"""A task's report, live and final, in Druid's shape (IngestionStatsAndErrorsTaskReport)."""

from __future__ import annotations

from typing import Any

from druidroles.segments.build import RowStats


class Progress:
    """How far a task has come. `ingestion_state` is one of Druid's: NOT_STARTED, BUILD_SEGMENTS, COMPLETED."""

    def __init__(self, task_id: str) -> None:
        self.stats = RowStats()
        self.ingestion_state = "NOT_STARTED"
        self.error_msg: str | None = None
        self._task_id = task_id

    def enter(self, ingestion_state: str) -> None:
        """The next phase has begun."""
        self.ingestion_state = ingestion_state

    def row_stats(self) -> dict[str, Any]:
        """What became of the rows so far. Partitions are determined by the building itself, in one pass."""
        return {"determinePartitions": RowStats().to_json(), "buildSegments": self.stats.to_json()}

    def to_json(self) -> dict[str, Any]:
        """The report."""
        return {
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
