"""The scenarios: what the greedy client does, and what stands before it."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from neighbour.greed.attack import Attack, Figures, Target
from neighbour.greed.connections import Descriptors, SilentHttp, TlsHellos
from neighbour.greed.query import SickReplica
from neighbour.greed.tree import BigAcl, CountChildren, Ephemerals, SixMultis
from neighbour.greed.unread import BulkOverTls, UnfinishedFrames, UnreadMegabytes, UnreadMultiReads
from neighbour.greed.watching import SetWatches, WatchersOfBigAcl, WatchesSince

DESCRIPTORS = 1_024
ROWS = 3
"""In the segment that is asked for."""


class Stage(Enum):
    """Whose neighbours the two clients are."""

    SERVER = "coord server"
    SERVER_TLS = "coord server with a certificate"
    BROKER = "Broker"
    HISTORICAL = "Historical"
    SICK_REPLICA = "Broker with a sick Historical"


class Nobody:
    """No greedy client: what the machine itself costs."""

    def __init__(self, target: Target) -> None:
        self._hold_s = target.hold_s

    def prepare(self) -> Figures:
        """Nothing."""
        return {}

    def strike(self) -> Figures:
        """Wait."""
        time.sleep(self._hold_s)
        return {}


@attrs.frozen
class Scenario:
    """`attack` makes the attack for a target; with a certificate it is also given the authority's file.

    `options` are of the server; `descriptors` is its RLIMIT_NOFILE, 0: as inherited; `sickness` is what the sick
    Historical does.
    """

    about: str
    attack: Callable[..., Attack]
    stage: Stage = Stage.SERVER
    options: tuple[str, ...] = ()
    descriptors: int = 0
    sickness: str = ""


def _over_tls(target: Target, authority: str) -> Attack:
    return BulkOverTls(target, Path(authority))


def _hellos(hellos: int) -> Callable[..., Attack]:
    return lambda target, *_: TlsHellos(target, hellos)


def _unread(connections: int) -> Callable[..., Attack]:
    return partial(UnreadMegabytes, connections=connections)


def _sick(about: str, sickness: str) -> Scenario:
    query: Any = partial(SickReplica, rows=ROWS)
    return Scenario(about, query, Stage.SICK_REPLICA, sickness=sickness)


_SMALL_FILES = ("--segment-bytes", "1048576", "--snapshot-every", "500")

SCENARIOS: dict[str, Scenario] = {
    "nobody": Scenario("no greedy client", Nobody),
    "big-acl": Scenario("one multiRead of 1,000 reads, ACL of 20,000 entries", BigAcl),
    "count-children": Scenario("300 getAllChildrenNumber over 100,000 children", CountChildren),
    "watches-since": Scenario("500 addWatch since 45,000 changes ago", WatchesSince),
    "unread-200": Scenario("200 connections × 5 MB unread", _unread(200)),
    "unread-1000": Scenario("1,000 connections × 5 MB unread", _unread(1_000)),
    "unread-multireads": Scenario("300 connections × a multiRead of 16 MB unread", UnreadMultiReads),
    "six-multis": Scenario("six multis of 10,000 writes", SixMultis),
    "set-watches": Scenario("setWatches of 100,000 paths", SetWatches),
    "get-ephemerals": Scenario("500 getEphemerals of 10,000", Ephemerals),
    "hellos-1000": Scenario("1,000 TLS ClientHellos at once", _hellos(1_000), Stage.SERVER_TLS),
    "hellos-2000": Scenario("2,000 TLS ClientHellos at once", _hellos(2_000), Stage.SERVER_TLS),
    "descriptors": Scenario(
        "more connections than 1,024 descriptors, then writes",
        partial(Descriptors, limit=DESCRIPTORS),
        options=_SMALL_FILES,
        descriptors=DESCRIPTORS,
    ),
    "silent-broker": Scenario("1,030 silent connections to a Broker", SilentHttp, Stage.BROKER),
    "silent-historical": Scenario("1,030 silent connections to a Historical", SilentHttp, Stage.HISTORICAL),
    "trickle": _sick("a Historical that sends a byte each 0.1 s", "trickle"),
    "endless-rows": _sick("a Historical whose rows never end", "endless"),
    "gzip-bomb": _sick("a Historical that sends a gzip bomb", "bomb"),
    "bulk-tls": Scenario("200 MB over TLS to one reader", _over_tls, Stage.SERVER_TLS),
    "unfinished-frames": Scenario("300 connections × 900 KB of an unfinished frame", UnfinishedFrames),
    "acl-watchers": Scenario("1,000 watchers of a znode with a large ACL", WatchersOfBigAcl),
}
