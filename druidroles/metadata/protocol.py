"""What the leading roles ask of a metadata store, whichever database is behind it.

All methods may raise MetadataError; those that take a LeaderEpoch raise StaleEpochError, and change nothing, unless
that epoch is the one the store holds for the role.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, Publication, StoredLock, StoredRules, TaskRow
from druidroles.metadata.unreadable import UnreadableRows
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment


class LeaderTable(Protocol):
    """The fence: the highest epoch of each leading role."""

    async def renew(self) -> None:
        """Go over to the store that is there now; called before a term. StoreVanishedError where there is none."""

    async def until_lost(self) -> NoReturn:
        """Wait until the store that is open is not the one at its place any more, and raise StoreVanishedError."""

    async def is_empty(self) -> bool:
        """Whether nothing was ever stored: no epoch, segment, rule, configuration or task."""

    async def raise_epoch(self, leader: LeaderEpoch, holder: str = "") -> None:
        """Make `leader` the one whose writes count; called before it reads any state.

        Raises StaleEpochError if a higher epoch is held. `holder` is the leader's URL, for listings.
        """

    async def epochs(self) -> dict[str, int]:
        """The epoch held for each role."""


class SegmentTable(Protocol):
    """`druid_segments`."""

    async def used_segments(self, known: Mapping[str, DataSegment] | None = None) -> list[DataSegment]:
        """All used segments at one instant, ordered by id. Payloads of ids in `known` are not parsed again."""

    async def used_segments_in(self, data_source: str, intervals: Sequence[Interval]) -> list[DataSegment]:
        """The used segments of a datasource that overlap one of the intervals, ordered by id."""

    async def unused_segments_in(
        self,
        data_source: str,
        interval: Interval,
        *,
        versions: Collection[str] | None = None,
        unused_since_ms: int | None = None,
    ) -> list[DataSegment]:
        """The unused segments of a datasource that lie within the interval, ordered by id.

        Of all versions unless some are given; unused for however short a time unless an instant is.
        """

    async def data_sources_with_unused(self) -> list[str]:
        """The datasources that have an unused segment, sorted."""

    async def unused_intervals(
        self, data_source: str, ended_ms: int | None, unused_since_ms: int, limit: int
    ) -> list[Interval]:
        """The intervals of at most `limit` segments that have been unused since an instant, ordered by start.

        With `ended_ms` only of those that end by then.
        """

    async def segment(self, segment_id: str) -> tuple[DataSegment, bool] | None:
        """A segment and whether it is used."""

    async def data_source_of(self, segment_id: str) -> str | None:
        """The datasource of a segment, whether or not its payload can be read; None if there is no such segment."""

    async def newest_version(self, data_source: str, interval: Interval) -> str | None:
        """The highest version among all segments, used or not, that overlap the interval."""

    async def publish_segments(self, leader: LeaderEpoch, publication: Publication) -> list[DataSegment]:
        """Check epoch, task, attempt and locks, insert, and note it with the task (TaskRow.published): one transaction.

        Returns the segments that were new.

        Segments already there stay as they are, so that a task may ask again when it lost the answer.
        Raises PublishRefusedError.
        """

    async def set_used(self, leader: LeaderEpoch, segment_ids: Iterable[str], used: bool) -> int:
        """Mark segments used or unused; returns how many changed."""

    async def set_used_in(
        self,
        leader: LeaderEpoch,
        data_source: str,
        interval: Interval | None,
        used: bool,
        versions: Collection[str] | None = None,
    ) -> int:
        """Mark the segments of a datasource that lie within the interval (None: all); returns how many changed.

        Of all versions unless some are given; an empty collection selects nothing.
        """

    async def delete_segments(self, leader: LeaderEpoch, segment_ids: Iterable[str]) -> int:
        """Delete the rows of unused segments; returns how many. Deep storage is cleaned after, never before."""


class RuleTable(Protocol):
    """`druid_rules`, `druid_config` and `druid_audit`."""

    async def rules(self) -> StoredRules:
        """The newest rules of each datasource."""

    async def set_rules(
        self, leader: LeaderEpoch, data_source: str, rules: Sequence[Mapping[str, Any]], audit: Audit
    ) -> None:
        """Make these the rules of a datasource."""

    async def config(self, name: str) -> Mapping[str, Any] | None:
        """A configuration's JSON, or None. Raises UnreadableRowError."""

    async def set_config(self, leader: LeaderEpoch, name: str, value: Any, audit: Audit) -> None:
        """Store a configuration."""

    async def audit_entries(self, audit_type: str, key: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """The newest changes first."""


class TaskTable(Protocol):
    """`druid_tasks`, `druid_tasklocks` and the attempts."""

    async def insert_task(self, leader: LeaderEpoch, task: TaskRow) -> bool:
        """Add a task; False if its id is taken."""

    async def task(self, task_id: str) -> TaskRow | None:
        """One task."""

    async def active_tasks(self) -> list[TaskRow]:
        """The tasks that have not ended, oldest first."""

    async def ended_tasks(self, limit: int) -> list[TaskRow]:
        """The tasks that have ended, newest first."""

    async def begin_attempt(self, leader: LeaderEpoch, task_id: str, worker: str) -> int | None:
        """Count one more attempt of a task, to be run by a worker; from now on no earlier one can publish.

        Returns the number of the attempt, None if the task has ended.
        """

    async def end_task(self, leader: LeaderEpoch, task_id: str, status: Mapping[str, Any]) -> bool:
        """Store the last status, mark the task ended and drop its locks; False if it had ended before."""

    async def locks(self) -> list[StoredLock]:
        """All locks, oldest first."""

    async def add_lock(
        self, leader: LeaderEpoch, task_id: str, lock: Mapping[str, Any], revoked: Iterable[int]
    ) -> int | None:
        """Store a granted lock and mark the rows in `revoked` revoked, in one transaction.

        Returns the row's id; None, with nothing changed, if the task has ended, whose locks nobody would release.
        """

    async def remove_locks(self, leader: LeaderEpoch, row_ids: Iterable[int]) -> None:
        """Drop locks."""


class MetadataStore(LeaderTable, SegmentTable, RuleTable, TaskTable, Protocol):
    """The whole store. A row that cannot be read is passed over by every listing, and `unreadable` knows it."""

    @property
    def unreadable(self) -> UnreadableRows: ...
