"""What is measured: one function a question, each on a server that `furnish` has prepared.

A cell gives measures by name. Rates are better when greater, everything else when smaller.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from operator import length_hint
from typing import NamedTuple

from cli.bench.statistics import percentile
from load.lines import Line, Request, heard, lines, pipelined, turns
from load.speech import WireProtocol, create, delete, get_children, get_data, set_data

DATA = b"d" * 100
CHILDREN = 200
WATCHERS = 500
KEPT = 200_000
"""Znodes of the measure of memory."""

_ENOUGH_S = 120
"""For what is done as often as said, however long it takes."""

Measures = dict[str, float]
_fresh = count()


class Target(NamedTuple):
    """A furnished server, how it is spoken to, and how many seconds each cell has."""

    port: int
    speech: WireProtocol
    seconds: float


Cell = Callable[[Target], Measures]


def furnish(port: int, speech: WireProtocol, clients: int) -> None:
    """Make the znodes that the cells use."""
    with lines(port, speech, 1) as [line]:
        for path in ("/bench", "/bench/wide", "/bench/fresh"):
            line.ask(create(path, DATA))
        _all(line, [create(f"/bench/wide/child-{at:05d}", b"") for at in range(CHILDREN)])
        _all(line, [create(_own(at), DATA) for at in range(clients)])


def _own(at: int) -> str:
    return f"/bench/client-{at:03d}"


def _all(line: Line, requests: list[Request]) -> None:
    pipelined(line, line.encode(requests), _ENOUGH_S)


def _pipelined(target: Target, request: Request, most: int) -> Measures:
    with lines(target.port, target.speech, 1) as [line]:
        done, taken = pipelined(line, line.encode([request] * int(most * target.seconds)), target.seconds)
    return {"per second": done / taken}


def reads_pipelined(target: Target) -> Measures:
    """getData of one znode by one client."""
    return _pipelined(target, get_data("/bench"), 300_000)


def sets_pipelined(target: Target) -> Measures:
    """Durable setData of one znode by one client."""
    return _pipelined(target, set_data("/bench", DATA), 80_000)


def lists_pipelined(target: Target) -> Measures:
    """getChildren of 200 by one client."""
    return _pipelined(target, get_children("/bench/wide"), 60_000)


def creates_pipelined(target: Target) -> Measures:
    """Durable creates by one client; what was made goes again, unmeasured."""
    paths = [f"/bench/fresh/znode-{next(_fresh):09d}" for _ in range(int(60_000 * target.seconds))]
    with lines(target.port, target.speech, 1) as [line]:
        done, taken = pipelined(line, line.encode(create(path, DATA) for path in paths), target.seconds)
    with lines(target.port, target.speech, 1) as [line]:
        _all(line, [delete(path) for path in paths[:done]])
    return {"per second": done / taken}


def in_turns(clients: int, writes: int) -> Cell:
    """So many clients, each asking one at a time for its own znode; `writes` of ten requests are durable setData."""

    def cell(target: Target) -> Measures:
        each = int(150_000 * target.seconds) // clients if clients > 1 else int(20_000 * target.seconds)
        with lines(target.port, target.speech, clients) as asking:
            encoded = [line.encode(_mixed(at, writes, each)) for at, line in enumerate(asking)]
            durations, taken = turns(asking, encoded, target.seconds)
        return _of_turns(durations, taken)

    return cell


def creates_in_turns(clients: int) -> Cell:
    """So many clients, each making durable znodes below its own one at a time; they go again, unmeasured."""

    def cell(target: Target) -> Measures:
        each = int(100_000 * target.seconds) // clients
        paths = [[f"{_own(at)}/znode-{next(_fresh):09d}" for _ in range(each)] for at in range(clients)]
        with lines(target.port, target.speech, clients) as asking:
            encoded = [line.encode(create(path, DATA) for path in own) for line, own in zip(asking, paths, strict=True)]
            following = [iter(requests) for requests in encoded]
            durations, taken = turns(asking, following, target.seconds)
        made = [path for own, left in zip(paths, following, strict=True) for path in own[: each - length_hint(left)]]
        with lines(target.port, target.speech, 1) as [line]:
            _all(line, [delete(path) for path in made])
        return _of_turns(durations, taken)

    return cell


def _of_turns(durations: Iterable[float], taken: float) -> Measures:
    ordered = sorted(durations)
    return {
        "per second": len(ordered) / taken,
        "p50 µs": percentile(ordered, 50) * 1e6,
        "p99 µs": percentile(ordered, 99) * 1e6,
    }


def _mixed(client: int, writes: int, length: int) -> Iterator[Request]:
    """Writes spread evenly over the requests, not at the same place in all clients."""
    path = _own(client)
    reading, writing = get_data(path), set_data(path, DATA)
    for at in range(client, client + length):
        yield writing if at * writes % 10 < writes else reading


def watchers(target: Target) -> Measures:
    """From sending a set to the last of 500 events; the median of some."""
    taken = []
    with lines(target.port, target.speech, WATCHERS) as watching, lines(target.port, target.speech, 1) as [setter]:
        for _ in range(max(3, int(10 * target.seconds))):
            for line in watching:
                line.ask(get_data("/bench", watch=True))
            taken.append(heard(watching, setter, set_data("/bench", DATA)))
    return {"ms": statistics.median(taken) * 1e3}


def fill(target: Target) -> None:
    """200,000 znodes of 100 bytes."""
    with lines(target.port, target.speech, 1) as [line]:
        line.ask(create("/kept", b""))
        _all(line, [create(f"/kept/znode-{at:06d}", DATA) for at in range(KEPT)])


def cells(clients: tuple[int, ...]) -> Mapping[str, Cell]:
    """All of them, by the name they are shown under."""
    found: dict[str, Cell] = {
        "pipelined getData": reads_pipelined,
        "pipelined setData": sets_pipelined,
        "pipelined create": creates_pipelined,
        f"pipelined getChildren of {CHILDREN}": lists_pipelined,
        "1 client getData": in_turns(1, 0),
        "1 client setData": in_turns(1, 10),
    }
    for writes, name in ((0, "getData"), (10, "setData"), (3, "30 % writes")):
        for number in clients:
            found[f"{number} clients {name}"] = in_turns(number, writes)
    for number in clients:
        found[f"{number} clients create"] = creates_in_turns(number)
    found[f"{WATCHERS} watchers, set to last event"] = watchers
    return found
