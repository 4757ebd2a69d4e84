"""The machine beside a naive twin, and random histories for both of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tree_twin import (
    CHECK,
    CLOSE_SESSION,
    CREATE,
    CREATE_SESSION,
    DELETE,
    DELETE_CONTAINER,
    MULTI,
    RESUME_SESSION,
    SET_ACL,
    SET_DATA,
    Twin,
)

from coordserver.core.model.acl import OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.errors import KeeperError
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.records import Record
from coordserver.core.serving.prep import PREPARE
from coordserver.core.state.machine import Machine

ANN = (Identity("ip", "127.0.0.1"), Identity("digest", "ann:hash"))
BOB = (Identity("ip", "127.0.0.1"),)
SESSIONS = (1, 2, 3)

fixed_paths = st.sampled_from(
    (
        *("/a", "/a/b", "/a/b/c", "/b", "/b/c", "/a/s-", "/a/", "/", "/é", "/zookeeper/x", "/zookeeper/config"),
        *("", "a", "a/b", "//", "//x", "/a//b", "/a/.", "/a/..", "/a\0", "/a/\x1f", "/\ue000", "/a/\U0001f600"),
        *("/zookeeper", "/zookeeper/quota", "/zookeeper/config/x", "/a/...", "/a/ "),
    )
)
paths = fixed_paths | st.integers(0, 40)  # a number picks one of the znodes that are there
near_paths = st.sampled_from(("/a", "/a/b", "/b", "/a/s-", "/b/c", "/a/b/c")) | st.integers(0, 40)
data = st.sampled_from((None, b"", b"x", b"some data"))
acls = st.sampled_from(
    (
        *(None, None, None, None, tuple(OPEN_ACL_UNSAFE)),
        *(((31, "digest", "ann:hash"),), ((1, "world", "anyone"), (30, "digest", "ann:hash"))),
        *((), ((31, "nonsense", "x"),)),
    )
)
versions = st.sampled_from((-1, -1, 0, 1, 2, -2))
modes = st.sampled_from((0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, -1))
ttls = st.sampled_from((0, 0, 0, 0, 50, -1, 2**40))


def one(path: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """One write as a client sends it: the operation, then its arguments."""
    return st.one_of(
        st.tuples(st.just(CREATE), path, data, acls, modes, ttls),
        st.tuples(st.just(CREATE), path, data, st.none(), st.sampled_from((0, 1, 2, 3)), st.just(0)),
        st.tuples(st.just(CREATE), path, data, st.none(), st.sampled_from((4, 5, 6)), st.just(50)),
        st.tuples(st.just(DELETE), path, versions),
        st.tuples(st.just(SET_DATA), path, data, versions),
    )


in_multi = one(near_paths) | st.tuples(st.just(CHECK), near_paths, versions)
steps = st.tuples(
    st.sampled_from(SESSIONS),
    st.sampled_from((ANN, ANN, BOB)),
    st.one_of(
        one(paths),
        one(near_paths),
        st.tuples(st.just(SET_ACL), paths, acls, versions),
        st.tuples(st.just(MULTI), st.lists(in_multi, max_size=5).map(tuple)),
        st.tuples(st.sampled_from((CREATE_SESSION, CLOSE_SESSION, RESUME_SESSION))),
        st.tuples(st.just(DELETE_CONTAINER), st.integers(0, 40)),
    ),
)


class Pair:
    """The machine and its twin."""

    def __init__(self) -> None:
        self.machine = Machine.new(b"h" * 16)
        self.twin = Twin()
        self.wall = 1_000_000
        for session in SESSIONS[:2]:
            self.step(session, BOB, (CREATE_SESSION,))

    def step(self, session: int, who: tuple[Identity, ...], command: tuple[Any, ...]) -> None:
        """One command to both; their answers and events must be equal."""
        self.wall += 20
        op, *rest = command
        arguments = tuple(self._named(argument, at) for at, argument in enumerate(rest))
        if op == MULTI:
            arguments = (tuple((part[0], self._named(part[1], 0), *part[2:]) for part in rest[0]),)
        elif op == CREATE_SESSION:
            arguments = (b"p" * 16, 10_000)
        elif op == RESUME_SESSION:
            arguments = (20_000, 2)
        elif op == DELETE_CONTAINER:
            session, arguments = 0, (arguments[0], self.twin.nodes[arguments[0]].mzxid)
        got = self._machine(op, session, who, arguments)
        logged = got is not None and isinstance(got[0], tuple)
        want = self.twin.run(op, session, self.wall, who, arguments, logged=logged)
        if op == MULTI and got is not None and got[0] == -5:
            assert any(part[0] == CREATE and part[4] not in range(7) for part in arguments[0])
            return
        assert got is not None
        if not logged:
            assert got[0] == want[0], (command, arguments)
            return
        (error, result), events = got
        assert (error, plain(result), events) == (want[0], want[1], want[2]), (command, arguments)
        assert self.machine.zxid == self.twin.zxid

    def _named(self, argument: Any, at: int) -> Any:
        if at == 0 and type(argument) is int:
            existing = list(self.twin.nodes)
            return existing[argument % len(existing)]
        return argument

    def _machine(self, op: int, session: int, who: Any, arguments: tuple[Any, ...]) -> Any:
        """((error, result), events), or (code,) where prep refused it and the log never saw it."""
        preparation = PREPARE.get(op)
        if preparation is not None:
            try:
                arguments = preparation(arguments, who, EngineLimits())
            except KeeperError as refusal:
                return (int(refusal.code),)
        record = Record(op, session, 0, 0, self.wall, who, arguments)
        outcome = self.machine.apply(self.machine.index + 1, record)
        return (outcome.error, outcome.result), [(kind, path) for kind, path, _, _ in outcome.events]

    def compare(self) -> None:
        """Everything that a client could read."""
        tree = self.machine.tree
        assert set(tree.nodes) == set(self.twin.nodes)
        for path, node in tree.nodes.items():
            assert tuple(node.stat()) == self.twin.stat(path), path
            assert node.data == self.twin.nodes[path].data
            assert sorted(tree.children_of(node)) == self.twin.children(path)
            assert tuple(map(tuple, node.acl)) == tuple(map(tuple, self.twin.nodes[path].acl))
        assert set(self.machine.sessions) == self.twin.sessions
        assert self.machine.system_errors == 0
        self.machine.check_invariants()


def plain(value: Any) -> Any:
    """Tuples without their names."""
    return tuple(map(plain, value)) if isinstance(value, tuple) else value
