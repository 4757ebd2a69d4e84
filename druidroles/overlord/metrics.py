"""What the Overlord shows under `/metrics` beside its counters, under Druid's names (Druid documentation, "Metrics",
indexing service): the slots and the queue, nothing where it does not lead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from druidroles.http.metrics import Labels, Metrics, Reading
from druidroles.overlord.term import OverlordTerm


def show_leader(metrics: Metrics, lead: Callable[[], OverlordTerm | None]) -> None:
    """Show the slots and the queue of whoever leads in this process; nothing while it does not."""
    gauge = metrics.gauge
    gauge("task/running/count", "tasks that run", lambda: _tasks(lead(), "running"))
    gauge("task/pending/count", "tasks that wait for a slot", lambda: _tasks(lead(), "pending"))
    gauge("task/waiting/count", "tasks that wait for a lock", lambda: _tasks(lead(), "waiting"))
    for name, about in (
        ("total", "slots there are"),
        ("used", "slots in use"),
        ("idle", "slots free for tasks"),
        ("lazy", "free slots of workers that take no new tasks"),
        ("blacklisted", "slots of workers on the blacklist"),
    ):
        gauge(f"taskSlot/{name}/count", about, lambda name=name: _slots(lead(), name))  # type: ignore[misc]


def _tasks(leading: OverlordTerm | None, state: str) -> Reading:
    if leading is None:
        return ()
    counted = Counter(row.data_source for row in leading.tasks.values() if leading.listed(row).state == state)
    return [({"dataSource": name}, float(count)) for name, count in counted.items()]


def _slots(leading: OverlordTerm | None, what: str) -> Reading:
    return () if leading is None else list(_slots_by_category(leading, what))


def _slots_by_category(leading: OverlordTerm, what: str) -> Iterable[tuple[Labels, float]]:
    counted: Counter[str] = Counter()
    for load in leading.worker_loads():
        barred = load.worker.host in leading.blacklist.workers
        takes = load.worker.enabled and not barred
        counted[load.worker.category] += {
            "total": load.worker.capacity,
            "used": load.used,
            "idle": max(0, load.free) if takes else 0,
            "lazy": max(0, load.free) if not load.worker.enabled else 0,
            "blacklisted": load.worker.capacity if barred else 0,
        }[what]
    return [({"category": category}, float(count)) for category, count in counted.items()]
