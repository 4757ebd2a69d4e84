"""Four-letter words: four bytes in (twelve for stmk), a text out, closed. Keys and layout are ZooKeeper's
(administrator's guide, "The Four Letter Words").

An answer is an iterator of pieces, so that a long one can go out in slices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from coordserver.wire.admin.metrics import monitored
from coordserver.wire.admin.monitoring import ConnectionFacts, ServerFacts, ServerView
from coordserver.wire.admin.operation_codes import code_of

ARGUMENT_BYTES = 8
TAKES_ARGUMENT = b"stmk"
NOT_SERVING = "This ZooKeeper instance is not currently serving requests\n"
GATHERED = 256
"""Entries looked at before a slice may end although there is nothing to say yet."""

Pieces = Iterator[str]


def refusal(word: bytes) -> str:
    """What is said of a word that is not allowed."""
    return f"{word.decode('ascii')} is not executed because it is not in the whitelist.\n"


def answer(word: bytes, argument: bytes, view: ServerView) -> Pieces:
    """The text for one of WORDS, in pieces."""
    if word not in _WHILE_NOT_SERVING and not view.serving:
        return iter((NOT_SERVING,))
    if word == TAKES_ARGUMENT:
        view.trace_mask = int.from_bytes(argument, "big", signed=True)
    return _ANSWERS[word](view)


def _ruok(view: ServerView) -> Pieces:
    yield "imok"


def _isro(view: ServerView) -> Pieces:
    yield "rw" if view.serving else "null"


def _srvr(view: ServerView) -> Pieces:
    facts = view.facts()
    yield _version(facts)
    yield _statistics(facts)


def _stat(view: ServerView) -> Pieces:
    facts = view.facts()
    yield _version(facts)
    yield "Clients:\n"
    for connection in view.connections():
        yield f" {_address(connection)}({_packets(connection)})\n"
    yield "\n"
    yield _statistics(facts)


def _version(facts: ServerFacts) -> str:
    return f"Zookeeper version: {facts.version}\n"


def _statistics(facts: ServerFacts) -> str:
    return (
        f"Latency min/avg/max: {facts.latency_min}/{round(facts.latency_avg, 4)}/{facts.latency.most}\n"
        f"Received: {facts.received}\n"
        f"Sent: {facts.sent}\n"
        f"Connections: {facts.connections}\n"
        f"Outstanding: {facts.outstanding}\n"
        f"Zxid: {facts.zxid:#x}\n"
        f"Mode: standalone\n"
        f"Node count: {facts.node_count}\n"
    )


def _cons(view: ServerView) -> Pieces:
    for connection in view.connections():
        yield f" {_address(connection)}({_packets(connection)}{_session(connection)})\n"
    yield "\n"


def _address(connection: ConnectionFacts) -> str:
    return f"/{connection.address}[{connection.operations}]"


def _packets(connection: ConnectionFacts) -> str:
    return f"queued={connection.queued},recved={connection.received},sent={connection.sent}"


def _session(connection: ConnectionFacts) -> str:
    if not connection.session_id:
        return ""
    last_xid = f",lcxid={connection.last_xid:#x}" if connection.last_xid >= 0 else ""
    return (
        f",sid={connection.session_id:#x},lop={code_of(connection.last_operation)}"
        f",est={connection.opened_ms},to={connection.timeout_ms}{last_xid},lzxid={_hex(connection.last_zxid)}"
        f",lresp={connection.answered_ms},llat={connection.latency_last},minlat={connection.latency_min}"
        f",avglat={int(connection.latency_avg)},maxlat={connection.latency_max}"
    )


def _hex(number: int) -> str:
    """As Java writes a long."""
    return f"{number & 0xFFFF_FFFF_FFFF_FFFF:#x}"


def _mntr(view: ServerView) -> Pieces:
    facts = view.facts()
    yield f"zk_version\t{facts.version}\nzk_server_state\tstandalone\n"
    for name, value in monitored(facts):
        yield f"zk_{name}\t{value}\n"


def _conf(view: ServerView) -> Pieces:
    for name, value in view.configuration().items():
        yield f"{name}={value}\n"


def _envi(view: ServerView) -> Pieces:
    yield "Environment:\n"
    for name, value in view.environment().items():
        yield f"{name}={value}\n"


def _dirs(view: ServerView) -> Pieces:
    data, log = view.directory_bytes()
    yield f"datadir_size: {data}\nlogdir_size: {log}\n"


def _crst(view: ServerView) -> Pieces:
    view.reset_connections()
    yield "Connection stats reset.\n"


def _srst(view: ServerView) -> Pieces:
    view.reset_server()
    yield "Server stats reset.\n"


def _trace_mask(view: ServerView) -> Pieces:
    yield str(view.trace_mask)


def _dump(view: ServerView) -> Pieces:
    sessions: dict[int, list[str]] = {}
    for count, (session_id, expires_ms) in enumerate(view.expiries(), 1):
        sessions.setdefault(_second(expires_ms), []).append(f"{session_id:#x}")
        if not count % GATHERED:
            yield ""
    yield "SessionTracker dump:\n"
    yield from _expiring("Session", sessions)
    yield "ephemeral nodes dump:\n"
    owners = view.ephemeral_owners()
    yield f"Sessions with Ephemerals ({len(owners)}):\n"
    for session_id in owners:
        yield f"{session_id:#x}:\n"
        yield from (f"\t{path}\n" for path in view.ephemerals_of(session_id))
    connections: dict[int, list[str]] = {}
    for count, connection in enumerate(view.connections(), 1):
        text = f"ip: /{connection.address} sessionId: {connection.session_id:#x}"
        connections.setdefault(_second(connection.expires_ms), []).append(text)
        if not count % GATHERED:
            yield ""
    yield "Connections dump:\n"
    yield from _expiring("Connections", connections)


def _second(ms: int) -> int:
    """The whole second at the end of which it is over."""
    return -(-ms // 1_000)


def _expiring(what: str, sets: dict[int, list[str]]) -> Pieces:
    yield f"{what} Sets ({len(sets)})/({len(sets)}):\n"
    for second in sorted(sets):
        yield f"{len(sets[second])} expire at {_date(second)}:\n"
        yield from (f"\t{entry}\n" for entry in sets[second])


def _date(second: int) -> str:
    """As Java writes a date; a second that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(second, UTC).strftime("%a %b %d %H:%M:%S UTC %Y")
    except (ValueError, OverflowError):
        return str(second)


def _wchs(view: ServerView) -> Pieces:
    summary = view.watch_summary()
    yield f"{summary.connections} connections watching {summary.paths} paths\nTotal watches:{summary.watches}\n"


def _wchc(view: ServerView) -> Pieces:
    for session_id, paths in view.watches_by_session():
        yield f"{session_id:#x}\n"
        yield from (f"\t{path}\n" for path in paths)
    yield "\n"


def _wchp(view: ServerView) -> Pieces:
    for path, sessions in view.watches_by_path():
        yield f"{path}\n"
        yield from (f"\t{session_id:#x}\n" for session_id in sessions)
    yield "\n"


_ANSWERS: dict[bytes, Callable[[ServerView], Pieces]] = {
    b"ruok": _ruok,
    b"srvr": _srvr,
    b"stat": _stat,
    b"mntr": _mntr,
    b"conf": _conf,
    b"cons": _cons,
    b"crst": _crst,
    b"srst": _srst,
    b"dump": _dump,
    b"envi": _envi,
    b"isro": _isro,
    b"dirs": _dirs,
    b"wchs": _wchs,
    b"wchc": _wchc,
    b"wchp": _wchp,
    b"gtmk": _trace_mask,
    b"stmk": _trace_mask,
}
WORDS = frozenset(_ANSWERS)
LISTINGS = frozenset({b"stat", b"cons", b"dump", b"wchc", b"wchp"})
"""Words whose answer grows with what there is."""

_WHILE_NOT_SERVING = frozenset({b"ruok", b"envi", b"gtmk", b"stmk", b"isro"})
