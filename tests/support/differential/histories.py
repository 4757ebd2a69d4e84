"""Random histories: what a handful of sessions do to a small tree, drawn from a seed.

A history has a profile, which keeps apart what ZooKeeper 3.8 and 3.9 do differently (docs/compatibility.md): rights are
not mixed with watches, one-shot watches not with persistent ones on the same path. Quotas are tried with one write at a
time: ZooKeeper holds a write against the totals that are applied, not against those of the writes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

from coordserver.core.model.access import digest_identity
from coordserver.core.model.operations import Op
from differential import malformed

SESSIONS = 3
NAMES = ("a", "b", "c")
BAD_SUFFIXES = ("", "/", "//x", "/.", "/..", "/a/", "/a//b", "/\x01", "/\0", "/a\ue000", "/\ud7ff", "/é ", "/…x")
ABSOLUTE = ("", "x", "/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")
USERS = (b"u1:p1", b"u2:p2")
DATA = (b"", b"x", b"hello", None, b"z" * 20)

OPEN = ((31, "world", "anyone"),)


class Step(NamedTuple):
    """One thing that a session does: what, who, and with what."""

    what: str
    who: int
    arguments: tuple[Any, ...] = ()


class History(NamedTuple):
    """Steps, made from a seed; `profile` names what they are about."""

    seed: int
    profile: str
    steps: tuple[Step, ...]


PROFILES = (
    "tree",
    "acl",
    "watch",
    "persistent",
    "recursive",
    "multi",
    "sessions",
    "setwatches",
    "quota",
    "malformed",
    "large",
)
WATCHING = ("watch", "persistent", "recursive", "setwatches")
EPHEMERAL = ("sessions", "malformed")
LIMITS = (
    b"count=3,bytes=-1",
    b"count=-1,bytes=12",
    b"count=-1,bytes=-1=;byteHardLimit=12;countHardLimit=4",
    b"count=1,bytes=1=;byteHardLimit=-1;countHardLimit=3",
    b"count=2,bytes=9=;byteHardLimit=9;countHardLimit=-1",
    b"count=-1,bytes=-1,byteHardLimit=6,countHardLimit=5",
    b"count=0,bytes=0=;byteHardLimit=0;countHardLimit=0",
    b"countHardLimit=2",
    b"garbage",
    b"count=x,bytes=1",
    b"",
    None,
)


def make(seed: int, length: int = 40) -> History:
    """The history of a seed."""
    random = Random(seed)
    profile = random.choice(PROFILES)
    draw = _Drawing(random, profile, f"/h{seed}")
    steps = [Step("connect", who, (random.choice((2_000, 4_000, 10_000, 0, 999_999)),)) for who in range(SESSIONS)]
    steps.append(Step("request", 0, (int(Op.CREATE), (draw.root, b"", OPEN, 0, -1))))
    if profile == "quota":
        steps += draw.quota_nodes()
    if profile == "large":
        steps += draw.many()
    steps += [draw.step() for _ in range(length)]
    return History(seed, profile, tuple(steps))


class _Drawing:
    def __init__(self, random: Random, profile: str, root: str) -> None:
        self.random = random
        self.profile = profile
        self.root = root
        watching = profile in ("watch", "setwatches")
        self._watch: Callable[[], bool] = (lambda: random.random() < 0.5) if watching else (lambda: False)

    def step(self) -> Step:
        random, who = self.random, self.random.randrange(SESSIONS)
        roll = random.random()
        if self.profile == "sessions" and roll < 0.3:
            return self._session_step(who)
        if self.profile in ("persistent", "recursive") and roll < 0.08:
            return self._reconnect(who)
        if self.profile == "malformed" and roll < 0.5:
            return self._malformed(who)
        if self.profile == "quota" and roll < 0.2:
            return Step("request", who, self._about_quota())
        if self.profile == "acl" and roll < 0.1:
            scheme = random.choice(("digest", "digest", "digest", "ip", "world" if roll < 0.01 else "digest"))
            return Step("auth", who, (scheme, random.choice(USERS)))
        if self.profile == "setwatches" and roll < 0.15:
            return Step("rewatch", who, (random.choice(("0", "base", "now")), *self._watch_lists()))
        if roll > 0.93 and self.profile != "quota":
            return Step("pipeline", who, tuple(self._request() for _ in range(random.randrange(2, 6))))
        return Step("request", who, self._request())

    def _session_step(self, who: int) -> Step:
        random = self.random
        what = random.choice(("drop", "resume", "resume", "close", "badpassword", "future", "connect"))
        return Step(what, who, (random.choice((2_000, 4_000, 20_000)),))

    def _reconnect(self, who: int) -> Step:
        """Lose the connection, take the session up again, arm what was armed (or something else)."""
        lists = [self._watch_lists()[0], ()]
        if self.profile == "recursive":
            lists.reverse()
        return Step("rearm", who, (self.random.choice(("0", "base", "now")), (), (), (), *lists))

    def _malformed(self, who: int) -> Step:
        if self.random.random() < 0.25:
            return Step("resume", who, (10_000,))
        path = self._path()
        op, arguments = self._request()
        return Step("raw", who, (malformed.draw(self.random, (op, arguments), path),))

    def quota_nodes(self) -> list[Step]:
        """The levels above the limits and stats of every znode of two levels, as zkCli makes them."""
        levels = [self.root, *(f"{self.root}/{name}" for name in NAMES)]
        return [Step("request", 0, (int(Op.CREATE), ("/zookeeper/quota" + path, None, OPEN, 0, -1))) for path in levels]

    def _about_quota(self) -> tuple[int, tuple[Any, ...]]:
        random = self.random
        where = "/zookeeper/quota" + random.choice((self.root, self.root, *(f"{self.root}/{name}" for name in NAMES)))
        name = random.choice(("/zookeeper_limits", "/zookeeper_stats"))
        limits = random.choice(LIMITS)
        data = limits if name == "/zookeeper_limits" else random.choice((b"count=0,bytes=0", b"", None, limits))
        op = random.choice((Op.CREATE, Op.CREATE, Op.CREATE, Op.DELETE, Op.SET_DATA, Op.GET_DATA, Op.GET_DATA))
        match op:
            case Op.CREATE:
                return int(op), (where + name, data, OPEN, 0, -1)
            case Op.DELETE:
                return int(op), (where + name, -1)
            case Op.SET_DATA:
                data = limits if name == "/zookeeper_limits" else random.choice((b"count=5,bytes=7", b"", b"bytes=3"))
                return int(op), (where + name, data, -1)
        return int(op), (where + name, False)

    def many(self) -> list[Step]:
        """Some hundreds of znodes, in a few writes."""
        steps = []
        for name in NAMES:
            under = f"{self.root}/{name}"
            creates: list[tuple[Any, ...]] = [(int(Op.CREATE), under, b"", OPEN, 0, -1)]
            for i in range(self.random.randrange(200)):
                path, mode = self.random.choice(((f"{under}/n{i}", 0), (f"{under}/n{i}", 1), (f"{under}/s-", 2)))
                creates.append((int(Op.CREATE), path, b"%d" % i, OPEN, mode, -1))
            steps.append(Step("request", self.random.randrange(SESSIONS), (int(Op.MULTI), (tuple(creates),))))
        return steps

    def _watch_lists(self) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(self._path() for _ in range(self.random.randrange(3))) for _ in range(3))

    def _path(self) -> str:
        random = self.random
        roll = random.random()
        if roll < 0.04:
            return self.root + random.choice(BAD_SUFFIXES)
        if roll < 0.06:
            return random.choice(ABSOLUTE)
        depth = random.choice((1, 1, 1, 2, 2, 3))
        return self.root + "".join("/" + random.choice(NAMES) for _ in range(depth))

    def _version(self) -> int:
        return self.random.choice((-1, -1, -1, 0, 0, 1, 2, -2))

    def _acl(self) -> tuple[tuple[int, str, str], ...]:
        if self.profile != "acl":
            return OPEN
        random = self.random
        digests = [(random.choice((31, 1, 4, 16, 29)), "digest", digest_identity(user).id) for user in USERS]
        return random.choice(
            (
                OPEN,
                ((1, "world", "anyone"),),
                (digests[0],),
                (digests[0], digests[1]),
                (digests[1], digests[1]),
                ((31, "auth", ""),),
                ((31, "ip", "127.0.0.1"),),
                ((31, "ip", "10.0.0.0/8"), (1, "world", "anyone")),
                (),
                ((31, "world", "somebody"),),
                ((31, "digest", "nocolon"),),
                ((31, "nosuch", "x"),),
                ((31, "ip", "300.0.0.1"),),
                ((0, "world", "anyone"),),
            )
        )

    def _create(self, *, alone: bool) -> tuple[int, tuple[Any, ...]]:
        random = self.random
        op = random.choice((Op.CREATE, Op.CREATE, Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL))
        mode = random.choice((0, 1, 1, 1, 3) if self.profile in EPHEMERAL else (0, 0, 0, 0, 1, 1, 2, 2, 3))
        ttl = -1
        if op == Op.CREATE_TTL:
            # A createTTL without a TTL flag is a record that ZooKeeper 3.8 logs and cannot apply: it stops for good.
            mode, ttl = random.choice(((5, 600_000), (6, 600_000), (5, 0), (5, 1 << 40)))
        elif op == Op.CREATE_CONTAINER:
            mode = random.choice((4, 4, 4, 0, 2))
        elif alone and random.random() < 0.03:  # in a multi 3.9 refuses the whole, 3.8 the one
            mode = random.choice((7, -1, 99, 5, 6))
        data = random.choice(DATA)
        return int(op), (self._path(), data, self._acl(), mode, ttl)

    def _write(self, *, alone: bool = True) -> tuple[int, tuple[Any, ...]]:
        roll = self.random.random()
        if roll < 0.45:
            return self._create(alone=alone)
        if roll < 0.7:
            return int(Op.DELETE), (self._path(), self._version())
        return int(Op.SET_DATA), (self._path(), self.random.choice(DATA), self._version())

    def _multi(self) -> tuple[int, tuple[Any, ...]]:
        parts: list[tuple[Any, ...]] = []
        for _ in range(self.random.choice((0, 1, 2, 3, 4, 60 if self.profile == "multi" else 4))):
            if self.random.random() < 0.2:
                parts.append((int(Op.CHECK), self._path(), self._version()))
            else:
                op, arguments = self._write(alone=False)
                parts.append((op, *arguments))
        return int(Op.MULTI), (tuple(parts),)

    def _multi_read(self) -> tuple[int, tuple[Any, ...]]:
        ops = (int(Op.GET_DATA), int(Op.GET_CHILDREN))
        parts = tuple((self.random.choice(ops), self._path(), False) for _ in range(self.random.randrange(4)))
        return int(Op.MULTI_READ), (parts,)

    def _request(self) -> tuple[int, tuple[Any, ...]]:
        random, roll = self.random, self.random.random()
        if self.profile == "multi" and roll < 0.5:
            return self._multi() if random.random() < 0.85 else self._multi_read()
        if self.profile == "acl" and roll < 0.15:
            return int(Op.SET_ACL), (self._path(), self._acl(), self._version())
        if self.profile in ("persistent", "recursive") and roll < 0.12:
            return int(Op.ADD_WATCH), (self._path(), 1 if self.profile == "recursive" else 0)
        if self.profile in WATCHING and roll < 0.18:
            return self._about_watches()
        if roll < 0.55:
            return self._write()
        if roll < 0.58 and self.profile != "quota":
            return self._multi()
        return self._read()

    def _about_watches(self) -> tuple[int, tuple[Any, ...]]:
        kind = self.random.choice((1, 2, 3) if self.profile == "watch" else (3,))
        return int(self.random.choice((Op.CHECK_WATCHES, Op.REMOVE_WATCHES))), (self._path(), kind)

    def _read(self) -> tuple[int, tuple[Any, ...]]:
        random = self.random
        op = random.choice(
            (
                Op.EXISTS,
                Op.GET_DATA,
                Op.GET_DATA,
                Op.GET_CHILDREN,
                Op.GET_CHILDREN2,
                Op.GET_ACL,
                Op.SYNC,
                Op.GET_EPHEMERALS,
                Op.GET_ALL_CHILDREN_NUMBER,
                Op.WHO_AM_I,
                Op.PING,
            )
        )
        if op in (Op.EXISTS, Op.GET_DATA, Op.GET_CHILDREN, Op.GET_CHILDREN2):
            path = self._path()
            return int(op), (path, self._watch() and path != "")  # there ZooKeeper arms a watch that nothing fires
        return int(op), () if op in (Op.WHO_AM_I, Op.PING) else (self._path(),)
