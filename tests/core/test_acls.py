"""What ACLs allow, however long they are, and how often one is read and judged for that."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import Bench, Told, replies
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model import access, grants
from coordserver.core.model.access import allowed, intern_acl
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.grants import AclList, parse_ip
from coordserver.core.model.operations import Op
from coordserver.core.model.records import Record
from coordserver.core.state.machine import Machine

READ = 1
LIMITED = -1007
ANN = (Identity("ip", "10.1.2.3"), Identity("digest", "ann:hash"))
BOB = (Identity("ip", "192.168.0.1"), Identity("digest", "bob:hash"))

addresses = st.sampled_from(("10.1.2.3", "10.1.2.4", "10.0.0.0", "2001:db8::1", "2001:db8::", "::", "nonsense", ""))
networks = st.one_of(addresses, st.tuples(addresses, st.integers(-1, 130)).map(lambda pair: f"{pair[0]}/{pair[1]}"))
identities = st.one_of(
    addresses.map(lambda address: ("ip", address)),
    st.sampled_from((("digest", "ann:hash"), ("digest", "bob:hash"), ("x509", "CN=ann"), ("super", ""))),
)
entries = st.tuples(
    st.integers(0, 31),
    st.one_of(
        networks.map(lambda network: ("ip", network)),
        st.sampled_from((("digest", "ann:hash"), ("x509", "CN=ann"), ("world", "anyone"), ("world", "x"), ("ip", "x"))),
    ),
).map(lambda pair: (pair[0], *pair[1]))


def searched(acl: Any, permission: int, who: Any) -> bool:
    """ZooKeeper's rules, one entry after the other (ZooKeeperServer.checkACL, IPAuthenticationProvider.matches)."""
    if not acl or any(scheme == "super" for scheme, _ in who):
        return True
    for perms, scheme, name in acl:
        if not perms & permission:
            continue
        if (scheme, name) == ("world", "anyone"):
            return True
        for own_scheme, own in who:
            if own_scheme != scheme:
                continue
            if own == name:
                return True
            address, network = (parse_ip(own), parse_ip(name)) if scheme == "ip" else (None, None)
            if address and network and address[0] == network[0]:
                width = 32 if address[0] == 4 else 128
                if f"{address[1]:0{width}b}"[: network[2]] == f"{network[1]:0{width}b}"[: network[2]]:
                    return True
    return False


@settings(max_examples=500, deadline=None)
@given(st.lists(entries, max_size=12), st.integers(1, 31), st.lists(st.lists(identities, max_size=4).map(tuple)))
def test_a_long_acl_allows_what_searching_it_would(acl: list[Any], permission: int, asking: list[Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for few in (0, 100):
            patch.setattr(access, "FEW", few)
            settled = AclList(ACL(*entry) for entry in acl)
            for who in (*asking, *asking):
                assert allowed(settled, permission, who) == searched(acl, permission, who), (few, who)
                assert allowed(acl, permission, who) == searched(acl, permission, who)


def test_acls_that_are_equal_are_one_object_and_the_open_one_is_known() -> None:
    assert intern_acl(((31, "world", "anyone"),)) is OPEN_ACL_UNSAFE
    for count in (2, 9, 300):
        acl = tuple((31, "digest", f"u{number}:h") for number in range(count))
        assert intern_acl(acl) is intern_acl(list(acl))
        assert intern_acl(intern_acl(acl)) is intern_acl(acl)
    assert intern_acl(((31, "digest", "u:" + "x" * 5_000),)) is intern_acl(((31, "digest", "u:" + "x" * 5_000),))


def test_long_acls_that_no_znode_has_any_more_are_not_kept_by_the_thousand() -> None:
    for number in range(1_000):
        intern_acl(((31, "digest", f"u{number}:" + "x" * 5_000),))
    assert access._share_long.cache_info().currsize <= 64


# -- how often --------------------------------------------------------------------------------------------------------


class Counts:
    """How many ACLs were read, and how often one was judged."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        access._share_long.cache_clear()  # what another test has read is read anew
        self.read = self.judged = 0
        made, judge = grants._Grants.__init__, grants._Grants.rights

        def read(of: Any, acl: Any) -> None:
            self.read += 1
            made(of, acl)

        def judged(of: Any, who: Any) -> int:
            self.judged += 1
            return judge(of, who)

        patch.setattr(grants._Grants, "__init__", read)
        patch.setattr(grants._Grants, "rights", judged)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """Counted from now on."""
    return Counts(monkeypatch)


def stored(znodes: int = 3) -> Machine:
    """Znodes with an ACL as long as they once could be stored, out of a snapshot; Ann comes last in it."""
    state = Machine.new(bytes(range(16)))
    acl = (*((31, "ip", f"172.16.{n >> 8 & 255}.{n & 255}/32") for n in range(20_000)), (31, "digest", "ann:hash"))
    for number in range(znodes):
        create = Record(int(Op.CREATE), 0, 0, 0, 0, (), (f"/n{number}", b"", acl, 0, 0))
        assert state.apply(state.index + 1, create).error == 0
    again = Machine.from_snapshot(state.snapshot_rows())
    assert again.digest() == state.digest()
    return again


@pytest.mark.parametrize(("who", "error"), [(ANN, 0), (BOB, -102)])
def test_one_multi_read_of_1_000_reads_judges_an_acl_once(who: Any, error: int, counts: Counts) -> None:
    bench = Bench(stored())
    a, told, _ = bench.connected(identities=who)
    bench.send(a, 1, Op.MULTI_READ, tuple((int(Op.GET_DATA), f"/n{number % 3}") for number in range(1_000)))
    [(_, _, _, failed, (results,))] = told.take()
    assert failed == 0
    assert {result[1] for result in results} == {error}
    assert (counts.read, counts.judged) == (1, 1)


def test_a_delivery_judges_an_acl_once_for_each_who_hears(counts: Counts) -> None:
    bench = Bench(stored())
    hearers: list[Told] = []
    for who in (ANN, BOB, ANN):
        a, told, _ = bench.connected(identities=who)
        bench.send(a, 1, Op.ADD_WATCH, "/", 1, -1)
        told.take()
        hearers.append(told)
    for number in range(3):
        bench.send(a, number + 2, Op.SET_DATA, f"/n{number}", b"x", -1)
    bench.sync()
    assert [sum(entry[0] == "events" for entry in told.take()) for told in hearers] == [3, 0, 3]
    assert counts.read == 1
    assert counts.judged <= 4 * 3


def test_what_a_resumed_watch_missed_is_judged_once(counts: Counts) -> None:
    state = stored()
    for number in range(100):
        write = Record(int(Op.SET_DATA), 0, 0, 0, 0, ANN, (f"/n{number % 3}", b"", -1))
        assert state.apply(state.index + 1, write).error == 0
    bench = Bench(state)
    a, told, _ = bench.connected(identities=BOB, history_id=state.history_id)
    counts.judged = 0
    bench.send(a, 1, Op.ADD_WATCH, "/", 1, 3)
    assert [entry[0] for entry in told.take()] == ["reply"]
    assert counts.judged == 1


# -- limits -----------------------------------------------------------------------------------------------------------


def digests(count: int) -> tuple[tuple[int, str, str], ...]:
    """An ACL of so many entries."""
    return tuple((31, "digest", f"{number:x}:h") for number in range(count))


@pytest.mark.parametrize(
    ("acl", "error"),
    [
        (digests(10), 0),
        (digests(11), LIMITED),
        (((31, "digest", "a:" + "x" * 92),), 0),
        (((31, "digest", "a:" + "x" * 93),), LIMITED),
        (((31, "digest", "a:" + "é" * 46),), 0),
        (((31, "digest", "a:" + "é" * 47),), LIMITED),
        (tuple((perms, "auth", "") for perms in range(6)), LIMITED),
        (((31, "auth", ""),), 0),
    ],
)
def test_an_acl_that_is_set_has_so_many_entries_and_bytes(acl: Any, error: int) -> None:
    bench = Bench(acl_entries=10, acl_bytes=100)
    who = tuple(Identity("digest", f"{name}:") for name in "ab")
    a, told, _ = bench.connected(identities=who)
    bench.create(a, 1, "/there")
    bench.sync()
    told.take()
    bench.send(a, 2, Op.CREATE, "/a", b"", acl, 0, 0)
    bench.send(a, 3, Op.SET_ACL, "/there", acl, -1)
    bench.send(a, 4, Op.MULTI, ((int(Op.CREATE), "/b", b"", acl, 0, 0),))
    bench.sync()
    assert replies(told.take()) == [(number, error) for number in (2, 3, 4)]
    assert ("/a" in bench.machine.tree.nodes) == ("/b" in bench.machine.tree.nodes) == (error == 0)


def test_the_limit_is_named() -> None:
    class Sink(Told):
        def reply(self, number: int, zxid: int, op: int, error: int, result: tuple[Any, ...], detail: str) -> None:
            self.entries.append((error, detail))

    bench = Bench()
    sink = Sink()
    a, _, _ = bench.connected()
    a.sink = sink
    bench.send(a, 1, Op.CREATE, "/a", b"", digests(257), 0, 0)
    assert sink.entries == [(LIMITED, "acl: 257 entries, at most 256")]
