"""Limits on what a client may request, checked before anything reaches the log."""

from __future__ import annotations

import attrs


@attrs.frozen(kw_only=True)
class EngineLimits:
    """What a client may ask for. Times in ms; `outstanding_per_session` counts requests that are not answered yet.

    `outstanding_writes`: of all sessions together, on their way through the log. `reply_bytes`: data in the answer to
        one multiRead. `znodes_per_record`: how many znodes one delete_tree deletes at most. `acl_entries`, `acl_bytes`:
        of one ACL that is set now; what was stored before may be longer.

        Containers and TTL znodes are looked through every `container_check_ms`; a container that never had a child goes
        after `container_never_used_ms` (0: never), at most `container_per_check` go at a time (ContainerManager).
        `enforce_quota`: hard limits of quotas refuse writes (ZooKeeper's enforceQuota). `x509`: ACLs
        may name subjects of certificates.
    """

    session_timeout_ms_min: int = 4_000
    session_timeout_ms_max: int = 40_000
    sessions: int = 100_000
    outstanding_per_session: int = 1_000
    outstanding_writes: int = 100_000
    znode_bytes: int = 1 << 20
    acl_entries: int = 256
    acl_bytes: int = 16 * 1024
    ephemerals_per_session: int = 10_000
    multi_operations: int = 10_000
    znodes_per_record: int = 10_000
    children_per_reply: int = 200_000
    reply_bytes: int = 16 * 1024 * 1024
    watches_per_session: int = 200_000
    container_check_ms: int = 60_000
    container_never_used_ms: int = 300_000
    container_per_check: int = 10_000
    enforce_quota: bool = False
    x509: bool = False
