"""Four-letter words: four bytes in, a text out, closed. Keys and layout are ZooKeeper's (administrator's guide)."""

from __future__ import annotations

from coordserver.wire.facts import ServerFacts


def answer(word: bytes, facts: ServerFacts) -> bytes | None:
    """The text for a word; None for an unknown one, whose connection is just closed."""
    match word:
        case b"ruok":
            return b"imok" if facts.serving else b""
        case b"srvr":
            return _srvr(facts).encode()
        case b"mntr":
            return _mntr(facts).encode()
    return None


def _srvr(facts: ServerFacts) -> str:
    return (
        f"Zookeeper version: {facts.version}\n"
        f"Received: {facts.received}\n"
        f"Sent: {facts.sent}\n"
        f"Connections: {facts.connections}\n"
        f"Outstanding: {facts.outstanding}\n"
        f"Zxid: {facts.zxid:#x}\n"
        f"Mode: standalone\n"
        f"Node count: {facts.znodes}\n"
    )


def _mntr(facts: ServerFacts) -> str:
    lines = [f"zk_version\t{facts.version}", "zk_server_state\tstandalone"]
    lines += [f"zk_{key}\t{value}" for key, value in facts.monitored()]
    return "\n".join(lines) + "\n"
