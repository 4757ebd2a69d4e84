"""The numbers that can be watched: one table, told by `mntr`, by `/commands/monitor` and by `/metrics`.

Names are ZooKeeper's where a number means the same as there; what is ours begins with `coord_`. `mntr` has besides
what cannot happen here as zeros (zookeeper_metrics.py), which `/metrics` leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum

from attrs import frozen

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import EventKind
from coordserver.core.serving.watches import Tally
from coordserver.wire.admin.monitoring import ServerFacts
from coordserver.wire.admin.zookeeper_metrics import NEVER

Number = int | float


class Kind(Enum):
    """What a number is to Prometheus."""

    GAUGE = "gauge"
    COUNTER = "counter"


@frozen
class Metric:
    """One number."""

    name: str
    kind: Kind
    value: Callable[[ServerFacts], Number]
    about: str


@frozen
class Summary:
    """Times in ms of something that happened `count` times."""

    name: str
    count: Callable[[ServerFacts], int]
    total: Callable[[ServerFacts], Number]
    most: Callable[[ServerFacts], Number]
    about: str
    least: Callable[[ServerFacts], Number] = lambda f: 0


def _gauge(name: str, value: Callable[[ServerFacts], Number], about: str) -> Metric:
    return Metric(name, Kind.GAUGE, value, about)


def _counter(name: str, value: Callable[[ServerFacts], Number], about: str) -> Metric:
    return Metric(name, Kind.COUNTER, value, about)


def _refused(name: str, code: ErrorCode, about: str) -> Metric:
    return _counter(f"coord_refused_{name}", lambda f: f.refusals.get(int(code), 0), about)


METRICS: tuple[Metric, ...] = (
    _gauge("ephemerals_count", lambda f: f.ephemerals, "Ephemeral znodes."),
    _gauge("num_alive_connections", lambda f: f.connections, "Open connections, whatever they speak."),
    _gauge("avg_latency", lambda f: round(f.latency_avg, 4), "Average time to answer a request, in ms."),
    _gauge("min_latency", lambda f: f.latency_min, "Least time to answer a request, in ms."),
    _gauge("max_latency", lambda f: f.latency.most, "Greatest time to answer a request, in ms."),
    _gauge("outstanding_requests", lambda f: f.outstanding, "Requests taken and not answered yet."),
    _gauge("znode_count", lambda f: f.node_count, "Znodes; the root counts twice, as in ZooKeeper."),
    _gauge("global_sessions", lambda f: f.sessions, "Sessions, with a connection or without."),
    _gauge("local_sessions", lambda f: 0, "Sessions that only one member knows; there are none."),
    _gauge("packets_sent", lambda f: f.sent, "Replies and events sent since the last reset."),
    _gauge("packets_received", lambda f: f.received, "Requests received since the last reset."),
    _gauge("connection_drop_probability", lambda f: 0.0, "Connections are never dropped by chance."),
    _gauge("watch_count", lambda f: f.watches, "Watches of all kinds."),
    _gauge("auth_failed_count", lambda f: f.auth_failed, "Credentials that were refused."),
    _gauge("open_file_descriptor_count", lambda f: f.open_files, "Open file descriptors of the process."),
    _gauge("max_file_descriptor_count", lambda f: f.open_files_max, "The limit of open file descriptors."),
    _gauge("approximate_data_size", lambda f: f.data_bytes, "Bytes of data in all znodes."),
    _gauge("uptime", lambda f: f.uptime_ms, "Since the port was opened, in ms."),
    _gauge("coord_outstanding_bytes", lambda f: f.outstanding_bytes, "Of those requests, about."),
    _gauge("outstanding_tls_handshake", lambda f: f.tls_handshakes, "TLS handshakes under way."),
    _gauge("last_client_response_size", lambda f: f.response_last, "Bytes of the last reply; -1: none yet."),
    _gauge("min_client_response_size", lambda f: f.response_min, "Bytes of the smallest reply since the last reset."),
    _gauge("max_client_response_size", lambda f: f.response_max, "Bytes of the largest reply since the last reset."),
    _counter("response_bytes", lambda f: f.response_bytes, "Bytes of all replies."),
    _counter("watch_bytes", lambda f: f.watch_bytes, "Bytes of all events that were sent."),
    _gauge("non_mtls_local_conn_count", lambda f: f.connections_plain_local, "Connections of loopback without TLS."),
    _gauge("non_mtls_remote_conn_count", lambda f: f.connections_plain_remote, "Other connections without TLS."),
    _counter("connection_request_count", lambda f: f.connection_requests, "Handshakes."),
    _counter("connection_revalidate_count", lambda f: f.connections_resumed, "Handshakes for a session that was open."),
    _counter("sync_processor_request_queued", lambda f: f.records_logged, "Records given to the log and written."),
    _counter("connection_drop_count", lambda f: f.connections_left, "Connections that the peer ended."),
    _counter("sessionless_connections_expired", lambda f: f.handshakes_late, "Connections that sent no handshake."),
    _counter("unsuccessful_handshake", lambda f: f.handshakes_failed, "TLS handshakes that failed."),
    _counter("throttled_ops", lambda f: f.refusals.get(int(ErrorCode.THROTTLED), 0), "Requests answered Throttled."),
    _counter("bytes_received_count", lambda f: f.bytes_received, "Bytes read from connections."),
    _counter("connection_rejected", lambda f: f.connections_rejected, "Connections closed for being too many."),
    _counter("large_requests_rejected", lambda f: f.requests_too_large, "Requests longer than the limit."),
    _counter("stale_sessions_expired", lambda f: f.sessions_expired, "Sessions that were not heard of in time."),
    _counter("coord_connections_accepted", lambda f: f.connections_accepted, "Connections accepted."),
    _counter("coord_connections_cut_off", lambda f: f.connections_cut_off, "Connections closed for what they did."),
    _counter(
        "coord_connections_cut_for_memory", lambda f: f.connections_cut_for_memory, "Of those, for the totals of bytes."
    ),
    _gauge("coord_connections_max", lambda f: f.connections_max, "Connections that there may be."),
    _gauge("coord_output_bytes", lambda f: f.output_bytes, "Answers and events that wait to be read."),
    _gauge("coord_input_bytes", lambda f: f.input_bytes, "Bytes of unfinished requests."),
    _counter("coord_requests_refused", lambda f: f.requests_refused, "Requests refused before the log."),
    _counter("coord_fsyncs", lambda f: f.fsyncs, "Batches written to the log and synced."),
    _counter("coord_fsyncs_slow", lambda f: f.fsyncs_slow, "Syncs slower than fsync_warning_ms."),
    _gauge("coord_fsync_last_us", lambda f: f.fsync_last_us, "The last sync of the log, in µs."),
    _counter("coord_records_logged", lambda f: f.records_logged, "Records written to the log."),
    _counter("coord_log_bytes", lambda f: f.log_bytes, "Bytes written to the log."),
    _gauge("coord_loop_late_max_ms", lambda f: f.loop_late_max_ms, "How late a tick was at most."),
    _counter("coord_apply_faults", lambda f: f.apply_faults, "Writes that failed in an unforeseen way."),
    _counter(
        "coord_read_faults", lambda f: f.read_faults, "Requests that failed in an unforeseen way, but for writes."
    ),
    _counter("coord_expiry_faults", lambda f: f.expiry_faults, "Expiries of sessions that failed and are tried again."),
    _refused("too_large", ErrorCode.TOO_LARGE, "Data larger than znode_bytes, frames longer than frame_bytes."),
    _refused("throttled", ErrorCode.THROTTLED, "Writes above the outstanding ones, sessions above sessions."),
    _refused("disk_full", ErrorCode.DISK_FULL, "Writes refused because the disk was full."),
    _refused("memory_full", ErrorCode.MEMORY_FULL, "Writes refused because memory_bytes was reached."),
    _refused("too_many_ephemerals", ErrorCode.TOO_MANY_EPHEMERALS, "Creates above ephemerals_per_session."),
    _refused("limit_exceeded", ErrorCode.LIMIT_EXCEEDED, "Watches, operations, children, ACLs above their limits."),
    _gauge("coord_disk_fullness", lambda f: f.disk_fullness, "0 enough, 1 only deletes taken, 2 nothing written."),
    _gauge("coord_disk_free_bytes", lambda f: f.disk_free_bytes, "Free on the disk of the data directory."),
    _gauge("coord_memory_bytes", lambda f: f.memory_bytes, "Estimate of what znodes, sessions and watches take."),
    _gauge("coord_memory_limit_bytes", lambda f: f.memory_limit_bytes, "The estimate above which only deletes pass."),
)
_NO_TALLY = Tally()


def _told(name: str, kind: EventKind, what: str) -> Summary:
    def tally(facts: ServerFacts) -> Tally:
        return facts.watchers_told.get(int(kind), _NO_TALLY)

    return Summary(
        f"node_{name}_watch_count",
        lambda f: tally(f).count,
        lambda f: tally(f).total,
        lambda f: tally(f).most,
        f"Watchers of {what}, where there were any.",
        lambda f: tally(f).least,
    )


SUMMARIES: tuple[Summary, ...] = (
    _told("created", EventKind.CREATED, "a znode that was created"),
    _told("deleted", EventKind.DELETED, "a znode that was deleted"),
    _told("changed", EventKind.DATA_CHANGED, "a znode whose data changed"),
    _told("children", EventKind.CHILDREN_CHANGED, "a znode whose children changed"),
    Summary(
        "fsynctime",
        lambda f: f.fsyncs,
        lambda f: f.fsync_total_us // 1_000,
        lambda f: f.fsync_max_us // 1_000,
        "Time to sync a batch of the log, in ms.",
        lambda f: f.fsync_min_us // 1_000,
    ),
    Summary(
        "snapshottime",
        lambda f: f.snapshots,
        lambda f: f.snapshot_total_ms,
        lambda f: f.snapshot_max_ms,
        "Time to write a snapshot, in ms.",
        lambda f: f.snapshot_min_ms,
    ),
    Summary(
        "dbinittime",
        lambda f: 1,
        lambda f: f.start_ms,
        lambda f: f.start_ms,
        "Time to recover the state at the start, in ms.",
        lambda f: f.start_ms,
    ),
    Summary(
        "startup_txns_loaded",
        lambda f: 1,
        lambda f: f.start_records,
        lambda f: f.start_records,
        "Records of log applied at the start.",
        lambda f: f.start_records,
    ),
    Summary(
        "sync_processor_batch_size",
        lambda f: f.batches,
        lambda f: f.records_logged,
        lambda f: f.batch_records_max,
        "Records written to the log at once.",
        lambda f: f.batch_records_min,
    ),
)


def monitored(facts: ServerFacts) -> Iterator[tuple[str, Number]]:
    """Every number under its name; a summary's parts as ZooKeeper's `mntr` names them, and zeros for what cannot be."""
    for metric in METRICS:
        yield metric.name, metric.value(facts)
    for summary in SUMMARIES:
        count, total = summary.count(facts), summary.total(facts)
        yield f"avg_{summary.name}", round(total / count, 4) if count else 0.0
        yield f"min_{summary.name}", summary.least(facts)
        yield f"max_{summary.name}", summary.most(facts)
        yield f"cnt_{summary.name}", count
        yield f"sum_{summary.name}", total
    yield from NEVER


def exposition(facts: ServerFacts) -> str:
    """The same in Prometheus' text format, version 0.0.4."""
    lines: list[str] = []
    for metric in METRICS:
        lines += (
            f"# HELP {metric.name} {metric.about}",
            f"# TYPE {metric.name} {metric.kind.value}",
            f"{metric.name} {metric.value(facts)}",
        )
    for summary in SUMMARIES:
        lines += (
            f"# HELP {summary.name} {summary.about}",
            f"# TYPE {summary.name} summary",
            f"{summary.name}_sum {summary.total(facts)}",
            f"{summary.name}_count {summary.count(facts)}",
        )
    return "\n".join(lines) + "\n"
