"""The commands of ZooKeeper's AdminServer (administrator's guide, "AdminServer Commands"): names, aliases and keys.

Each gives the members of a JSON object as text, an iterator of pieces; `command` and `error` are added behind them by
whoever answers. What could be long is written a row at a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import frozen

from coordserver.wire.admin import snapshot
from coordserver.wire.admin.fourletter import GATHERED
from coordserver.wire.admin.metrics import monitored
from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts, ServerView
from coordserver.wire.admin.operation_codes import code_of

Pieces = Iterator[str]
Query = Mapping[str, str]


class CommandError(Exception):
    """A command cannot be answered; the text goes into the answer's `error`."""

    status = 200


class NotOfferedError(CommandError):
    """A command of ZooKeeper's that this server does not have, and what to do instead."""

    status = 503  # as a ZooKeeper answers where an operator has turned the command off


@frozen
class Command:
    """`changes`: it changes something, and so needs an Authorization. `always`: also while the server starts or stops.

    `long`: its answer grows with what there is.
    """

    names: tuple[str, ...]
    members: Callable[[ServerView, Query], Pieces]
    changes: bool = False
    always: bool = False
    long: bool = False


def _member(name: str, value: Any) -> str:
    return f"  {json.dumps(name)} : {json.dumps(value)},\n"


def _members(values: Iterable[tuple[str, Any]]) -> Pieces:
    for name, value in values:
        yield _member(name, value)


def _list(name: str, rows: Iterable[Any]) -> Pieces:
    yield f"  {json.dumps(name)} : ["
    between = " "
    for row in rows:
        yield between + json.dumps(row)
        between = ",\n    "
    yield " ],\n"


def _lists(name: str, rows: Iterable[tuple[str, Iterable[Any]]]) -> Pieces:
    """An object of lists."""
    yield f"  {json.dumps(name)} : {{"
    between = "\n"
    for key, values in rows:
        yield f"{between}    {json.dumps(key)} : ["
        comma = " "
        for value in values:
            yield comma + json.dumps(value)
            comma = ", "
        yield " ]"
        between = ",\n"
    yield "\n  },\n"


def _nothing(view: ServerView, query: Query) -> Pieces:
    return iter(())


def _configuration(view: ServerView, query: Query) -> Pieces:
    return _members((_snake(name), value) for name, value in view.configuration().items())


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def _connections(view: ServerView, query: Query) -> Pieces:
    yield from _list("connections", (_connection(c) for c in view.connections() if not c.secure))
    yield from _list("secure_connections", (_connection(c) for c in view.connections() if c.secure))


def _brief(connection: ConnectionFacts) -> dict[str, Any]:
    return {
        "remote_socket_address": connection.address,
        "interest_ops": connection.operations,
        "outstanding_requests": connection.queued,
        "packets_received": connection.received,
        "packets_sent": connection.sent,
    }


def _connection(connection: ConnectionFacts) -> dict[str, Any]:
    return _brief(connection) | {
        "session_id": connection.session_id,
        "last_operation": code_of(connection.last_operation),
        "established": connection.opened_ms,
        "session_timeout": connection.timeout_ms,
        "last_cxid": connection.last_xid,
        "last_zxid": connection.last_zxid,
        "last_response_time": connection.answered_ms,
        "last_latency": connection.latency_last,
        "min_latency": connection.latency_min,
        "avg_latency": int(connection.latency_avg),
        "max_latency": connection.latency_max,
    }


def _connection_stat_reset(view: ServerView, query: Query) -> Pieces:
    view.reset_connections()
    return iter(())


def _stat_reset(view: ServerView, query: Query) -> Pieces:
    view.reset_server()
    return iter(())


def _dirs(view: ServerView, query: Query) -> Pieces:
    data, log = view.directory_bytes()
    return _members((("datadir_size", data), ("logdir_size", log)))


def _dump(view: ServerView, query: Query) -> Pieces:
    expiring: dict[int, list[int]] = {}
    for count, (session_id, expires_ms) in enumerate(view.expiries(), 1):
        expiring.setdefault(expires_ms, []).append(session_id)
        if not count % GATHERED:
            yield ""
    yield from _lists("expiry_time_to_session_ids", ((str(at), ids) for at, ids in expiring.items()))
    owners = view.ephemeral_owners()
    yield from _lists("session_id_to_ephemeral_paths", ((str(owner), view.ephemerals_of(owner)) for owner in owners))


def _environment(view: ServerView, query: Query) -> Pieces:
    return _members(view.environment().items())


def _trace_mask(view: ServerView, query: Query) -> Pieces:
    return _members((("tracemask", view.trace_mask),))


def _set_trace_mask(view: ServerView, query: Query) -> Pieces:
    try:
        mask = int(query["traceMask"])
    except (KeyError, ValueError):
        raise CommandError("setTraceMask requires long traceMask argument") from None
    if not -(2**63) <= mask < 2**63:
        raise CommandError("setTraceMask requires long traceMask argument")
    view.trace_mask = mask
    return _trace_mask(view, query)


def _initial_configuration(view: ServerView, query: Query) -> Pieces:
    lines = "".join(f"{name}={value}\n" for name, value in view.properties().items())
    return _members((("initial_configuration", lines),))


def _is_read_only(view: ServerView, query: Query) -> Pieces:
    return _members((("read_only", False),))


def _last_snapshot(view: ServerView, query: Query) -> Pieces:
    last = view.last_snapshot()
    zxid, at_s = (last.zxid, last.at_s) if last is not None else (-1, -1)
    return _members((("zxid", f"{zxid & 0xFFFF_FFFF_FFFF_FFFF:x}"), ("timestamp", at_s)))


def _leader(view: ServerView, query: Query) -> Pieces:
    raise CommandError("server is not initialized")  # a server that stands alone: ZooKeeper's own words


def _hash(view: ServerView, query: Query) -> Pieces:
    return _members((("digests", []),))  # as a ZooKeeper without digest.enabled: none is kept


def _observers(view: ServerView, query: Query) -> Pieces:
    return _members((("synced_observers", 0), ("observers", [])))


def _restore(view: ServerView, query: Query) -> Pieces:
    raise NotOfferedError(
        "restore over HTTP is not offered: use coord snapshot restore FILE --server HOST:PORT for a subtree, or "
        "--data-dir DIRECTORY for all of it while no server runs"
    )


def _zab_state(view: ServerView, query: Query) -> Pieces:
    return _members((("voting", False), ("zabstate", "")))  # a server that stands alone


def _monitor(view: ServerView, query: Query) -> Pieces:
    facts = view.facts()
    yield from _members((("version", facts.version), ("server_state", "standalone")))
    yield from _members(monitored(facts))


def _server_stats(view: ServerView, query: Query) -> Pieces:
    facts = view.facts()
    data, log = view.directory_bytes()
    responses = {
        "last_buffer_size": facts.response_last,
        "min_buffer_size": facts.response_min,
        "max_buffer_size": facts.response_max,
    }
    yield from _members(
        (
            ("version", facts.version),
            ("read_only", False),
            ("server_stats", _statistics(facts, data, log)),
            ("client_response", responses),
            ("node_count", facts.node_count),
        )
    )


def _statistics(facts: ServerFacts, data: int, log: int) -> dict[str, Any]:
    return {
        "packets_sent": facts.sent,
        "packets_received": facts.received,
        "fsync_threshold_exceed_count": facts.fsyncs_slow,
        "data_dir_size": data,
        "log_dir_size": log,
        "server_state": "standalone",
        "last_processed_zxid": facts.zxid,
        "outstanding_requests": facts.outstanding,
        "avg_latency": round(facts.latency_avg, 4),
        "max_latency": facts.latency.most,
        "min_latency": facts.latency_min,
        "num_alive_client_connections": facts.connections,
        "uptime": facts.uptime_ms,
        "auth_failed_count": facts.auth_failed,
    }


def _stats(view: ServerView, query: Query) -> Pieces:
    yield from _server_stats(view, query)
    yield from _list("connections", (_brief(c) for c in view.connections() if not c.secure))
    yield from _list("secure_connections", (_brief(c) for c in view.connections() if c.secure))


def _properties(view: ServerView, query: Query) -> Pieces:
    return _members(view.properties().items())


def _voting_view(view: ServerView, query: Query) -> Pieces:
    return _members((("current_config", {}),))


def _watches(view: ServerView, query: Query) -> Pieces:
    return _lists("session_id_to_watched_paths", ((str(one), paths) for one, paths in view.watches_by_session()))


def _watches_by_path(view: ServerView, query: Query) -> Pieces:
    return _lists("path_to_session_ids", view.watches_by_path())


def _watch_summary(view: ServerView, query: Query) -> Pieces:
    summary = view.watch_summary()
    return _members(
        (
            ("num_connections", summary.connections),
            ("num_paths", summary.paths),
            ("num_total_watches", summary.watches),
        )
    )


COMMANDS: tuple[Command, ...] = (
    Command(("configuration", "conf", "config"), _configuration),
    Command(("connection_stat_reset", "crst"), _connection_stat_reset, changes=True),
    Command(("connections", "cons"), _connections, long=True),
    Command(("dirs",), _dirs),
    Command(("dump",), _dump, long=True),
    Command(("environment", "env", "envi"), _environment, always=True),
    Command(("get_trace_mask", "gtmk"), _trace_mask, always=True),
    Command(("hash",), _hash),
    Command(("initial_configuration", "icfg"), _initial_configuration),
    Command(("is_read_only", "isro"), _is_read_only),
    Command(("last_snapshot", "lsnp"), _last_snapshot),
    Command(("leader", "lead"), _leader),
    Command(("monitor", "mntr"), _monitor),
    Command(("observer_connection_stat_reset", "orst"), _nothing),
    Command(("observers", "obsr"), _observers),
    Command(("restore", "rest"), _restore, changes=True),
    Command(("ruok",), _nothing, always=True),
    Command(("server_stats", "srvr"), _server_stats),
    Command(("set_trace_mask", "stmk"), _set_trace_mask, changes=True, always=True),
    Command(snapshot.NAMES, _nothing, changes=True, long=True),
    Command(("stat_reset", "srst"), _stat_reset, changes=True),
    Command(("stats", "stat"), _stats, long=True),
    Command(("system_properties", "sysp"), _properties, always=True),
    Command(("voting_view",), _voting_view),
    Command(("watch_summary", "wchs"), _watch_summary),
    Command(("watches", "wchc"), _watches, long=True),
    Command(("watches_by_path", "wchp"), _watches_by_path, long=True),
    Command(("zabstate",), _zab_state),
)
BY_NAME: dict[str, Command] = {name: command for command in COMMANDS for name in command.names}
