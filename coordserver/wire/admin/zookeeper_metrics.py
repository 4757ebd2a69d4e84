"""Names of ZooKeeper's `mntr` for what cannot happen in this server: each is 0, as where it did not happen.

There is no ensemble (no elections, proposals, learners, commit processor), no cache of responses, no optimised watch
manager, no throttler of requests or connections by tokens, no JVM. Left out are the names of what does happen here and
is not measured: the queues of ZooKeeper's processors, and latencies split by reads and writes (docs/compatibility.md).
"""

from __future__ import annotations

from collections.abc import Iterator

_COUNTERS = (
    "add_dead_watcher_stall_time",
    "cnxn_closed_without_zk_server_running",
    "commit_count",
    "dead_watchers_cleared",
    "dead_watchers_queued",
    "diff_count",
    "digest_mismatches_count",
    "ensemble_auth_fail",
    "ensemble_auth_skip",
    "ensemble_auth_success",
    "learner_commit_received_count",
    "learner_proposal_received_count",
    "looking_count",
    "proposal_count",
    "quit_leading_due_to_disloyal_voter",
    "request_commit_queued",
    "request_throttle_wait_count",
    "requests_not_forwarded_to_commit_processor",
    "response_packet_cache_hits",
    "response_packet_cache_misses",
    "response_packet_get_children_cache_hits",
    "response_packet_get_children_cache_misses",
    "revalidate_count",
    "skip_learner_request_to_next_processor_count",
    "snap_count",
    "stale_replies",
    "stale_requests",
    "stale_requests_dropped",
    "tls_handshake_exceeded",
    "unrecoverable_error_count",
)
_SUMMARIES = (
    "commit_commit_proc_req_queued",
    "commit_process_time",
    "concurrent_request_processing_in_commit_processor",
    "connection_token_deficit",
    "election_time",
    "follower_sync_time",
    "inflight_diff_count",
    "inflight_snap_count",
    "leader_unavailable_time",
    "learner_request_processor_queue_size",
    "netty_queued_buffer_capacity",
    "observer_sync_time",
    "pending_session_queue_size",
    "proposal_process_time",
    "read_commit_proc_issued",
    "read_commit_proc_req_queued",
    "reads_after_write_in_session_queue",
    "reads_issued_from_session_queue",
    "requests_in_session_queue",
    "session_queues_drained",
    "time_waiting_empty_pool_in_commit_processor_read_ms",
    "unavailable_time",
    "write_batch_time_in_commit_processor",
    "write_commit_proc_issued",
    "write_commit_proc_req_queued",
)
_SUMMARIES_WITH_PERCENTILES = (
    "commit_propagation_latency",
    "dead_watchers_cleaner_latency",
    "jvm_pause_time_ms",
    "local_write_committed_time_ms",
    "om_commit_process_time_ms",
    "om_proposal_process_time_ms",
    "proposal_ack_creation_latency",
    "proposal_latency",
    "quorum_ack_latency",
    "read_commitproc_time_ms",
    "read_final_proc_time_ms",
    "request_throttle_queue_time_ms",
    "server_write_committed_time_ms",
    "write_commitproc_time_ms",
    "write_final_proc_time_ms",
)
_PARTS = ("min", "max", "cnt", "sum")
_PERCENTILES = ("p50", "p95", "p99", "p999")


def _names() -> Iterator[tuple[str, int | float]]:
    for name in _COUNTERS:
        yield name, 0
    for name in (*_SUMMARIES, *_SUMMARIES_WITH_PERCENTILES):
        yield f"avg_{name}", 0.0
        for part in _PARTS:
            yield f"{part}_{name}", 0
    for name in _SUMMARIES_WITH_PERCENTILES:
        for part in _PERCENTILES:
            yield f"{part}_{name}", 0


NEVER: tuple[tuple[str, int | float], ...] = tuple(_names())
"""Names and zeros."""
