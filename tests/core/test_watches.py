"""Who hears of what: against a naive account of the rules, and case by case where ZooKeeper has a rule to cite."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from engine_bench import Bench, Told, replies
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.operations import Op
from coordserver.core.serving.pipeline import Attachment
from coordserver.core.serving.watches import WatchManager, missed

CREATED, DELETED, CHANGED, CHILDREN = 1, 2, 3, 4
DATA, CHILD, PERSISTENT, RECURSIVE = "data", "child", "persistent", "recursive"
GUARDED = (ACL(1, "digest", "ann:hash"),)
PATHS = ("/", "/a", "/a/b", "/a/b/c", "/ab", "/a/x")


@attrs.frozen(eq=False)
class Hearer:
    """A connection, as far as watches know one."""

    name: str
    identities: tuple[tuple[str, str], ...] = ()


HEARERS = (Hearer("ann", (("digest", "ann:hash"),)), Hearer("bob"), Hearer("cy"))


class NaiveWatches:
    """Every watch in one list, looked through for each event."""

    def __init__(self) -> None:
        self.watches: list[tuple[str, str, Hearer]] = []

    def fire(self, events: list[tuple[int, str, Any, Any]]) -> dict[Hearer, list[tuple[int, str]]]:
        told: dict[Hearer, list[tuple[int, str]]] = {}
        for kind, path, acl, parent_acl in events:
            parent = path.rpartition("/")[0] or "/"
            spent = []
            for hearer in HEARERS:
                own = parents = False
                for watch in self.watches:
                    how, where, who = watch
                    if who is not hearer:
                        continue
                    below = where in (path, "/") or path.startswith(where + "/")
                    if (how in (DATA, PERSISTENT) and where == path) or (how == RECURSIVE and below):
                        own = True
                    if how == CHILD and where == path and kind == DELETED:
                        own = True
                    if how in (CHILD, PERSISTENT) and where == parent and kind != CHANGED:
                        parents = True
                    if (how == DATA and where == path) or (
                        how == CHILD and ((where == path and kind == DELETED) or (where == parent and kind != CHANGED))
                    ):
                        spent.append(watch)
                if own and self.may(acl, hearer):
                    told.setdefault(hearer, []).append((kind, path))
                if parents and self.may(parent_acl, hearer):
                    told.setdefault(hearer, []).append((CHILDREN, parent))
            self.watches = [watch for watch in self.watches if watch not in spent]
        return told

    @staticmethod
    def may(acl: Any, hearer: Hearer) -> bool:
        return acl is not GUARDED or hearer.name == "ann"


hearers = st.sampled_from(HEARERS)
acls = st.sampled_from((OPEN_ACL_UNSAFE, OPEN_ACL_UNSAFE, GUARDED))
event = st.tuples(st.sampled_from((CREATED, DELETED, CHANGED)), st.sampled_from(PATHS[1:]), acls, acls)
actions = st.one_of(
    st.tuples(st.sampled_from((DATA, CHILD, PERSISTENT, RECURSIVE)), st.sampled_from(PATHS), hearers),
    st.tuples(st.just("fire"), st.lists(event, min_size=1, max_size=4)),
    st.tuples(st.just("remove"), st.sampled_from(PATHS), st.integers(1, 5), hearers),
    st.tuples(st.just("drop"), hearers),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(actions, max_size=25))
def test_every_history_of_watches_is_the_naive_ones(history: list[tuple[Any, ...]]) -> None:
    manager: WatchManager[Hearer] = WatchManager()
    naive = NaiveWatches()
    for action in history:
        match action:
            case ("fire", events):
                want = {hearer: tuple(told) for hearer, told in naive.fire(events).items()}
                assert manager.fire(events) == want
            case ("remove", path, kind, hearer):
                hows = {1: (CHILD,), 2: (DATA,), 3: (DATA, CHILD, PERSISTENT, RECURSIVE), 4: (PERSISTENT,)}.get(kind)
                doomed = [
                    w for w in naive.watches if w[0] in (hows or (RECURSIVE,)) and w[1] == path and w[2] is hearer
                ]
                assert manager.has(path, kind, hearer) == bool(doomed)
                assert manager.remove(path, kind, hearer) == bool(doomed)
                naive.watches = [watch for watch in naive.watches if watch not in doomed]
            case ("drop", hearer):
                manager.drop(hearer)
                naive.watches = [watch for watch in naive.watches if watch[2] is not hearer]
            case (how, path, hearer):
                if (how, path, hearer) not in naive.watches:
                    naive.watches.append((how, path, hearer))
                if how == DATA:
                    manager.watch_data(path, hearer)
                elif how == CHILD:
                    manager.watch_children(path, hearer)
                else:
                    manager.add(path, int(how == RECURSIVE), hearer)
        assert manager.counts()[0] == len(naive.watches)
        for hearer in HEARERS:
            assert manager.held_by(hearer) == sum(watch[2] is hearer for watch in naive.watches)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.lists(event, min_size=1, max_size=4), max_size=8), st.sampled_from(PATHS), st.integers(0, 1), hearers
)
def test_what_was_missed_is_what_the_watch_would_have_told(
    changes: list[list[Any]], path: str, mode: int, hearer: Hearer
) -> None:
    manager: WatchManager[Hearer] = WatchManager()
    manager.add(path, mode, hearer)
    for events in changes:
        assert missed(events, path, mode, hearer.identities) == manager.fire(events).get(hearer, ())


# -- case by case, through the engine: the order in which a connection sees things ------------------------------------


def test_an_own_change_is_told_before_its_reply_the_znode_before_its_parent() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.ADD_WATCH, "/", 0, -1)
    bench.send(a, 2, Op.EXISTS, "/n", True)
    bench.create(a, 3, "/n")
    bench.sync()
    assert [entry[0] for entry in told.entries] == ["reply", "reply", "events", "reply"]
    assert told.entries[2] == ("events", 2, ((CREATED, "/n"), (CHILDREN, "/")))
    assert told.entries[3][:4] == ("reply", 3, 2, 0)


def test_a_one_shot_watch_tells_once_and_getdata_with_exists_tells_once() -> None:
    """One table for data and exists, keyed by path and connection."""
    bench = Bench()
    a, told, _ = bench.connected()
    bench.create(a, 1, "/n")
    bench.sync()
    bench.send(a, 2, Op.GET_DATA, "/n", True)
    bench.send(a, 3, Op.EXISTS, "/n", True)
    bench.send(a, 4, Op.SET_DATA, "/n", b"1", -1)
    bench.send(a, 5, Op.SET_DATA, "/n", b"2", -1)
    bench.sync()
    assert [entry for entry in told.entries if entry[0] == "events"] == [("events", 3, ((CHANGED, "/n"),))]


def test_a_delete_spends_data_and_child_watch_with_a_single_event() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.create(a, 1, "/n")
    bench.sync()
    bench.send(a, 2, Op.GET_DATA, "/n", True)
    bench.send(a, 3, Op.GET_CHILDREN2, "/n", True)
    bench.send(a, 4, Op.DELETE, "/n", -1)
    bench.create(a, 5, "/n")
    bench.create(a, 6, "/n/x")
    bench.sync()
    assert [entry for entry in told.entries if entry[0] == "events"] == [("events", 3, ((DELETED, "/n"),))]


def test_exists_on_a_missing_znode_arms_and_a_failed_read_does_not() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.EXISTS, "/none", True)
    bench.send(a, 2, Op.GET_DATA, "/other", True)
    bench.send(a, 3, Op.GET_CHILDREN2, "/other", True)
    bench.send(a, 4, Op.EXISTS, "/nul\0", True)
    assert replies(told.take()) == [(1, -101), (2, -101), (3, -101), (4, -8)]
    assert bench.engine.watches.counts() == (1, 1)
    bench.create(a, 5, "/other")
    bench.create(a, 6, "/none")
    bench.sync()
    assert [entry for entry in told.entries if entry[0] == "events"] == [("events", 3, ((CREATED, "/none"),))]


def test_a_persistent_watch_survives_the_znode_and_a_one_shot_beside_it() -> None:
    """The modes are independent of each other on one path since ZooKeeper 3.9."""
    bench = Bench()
    a, told, _ = bench.connected()
    bench.create(a, 1, "/n")
    bench.sync()
    bench.send(a, 2, Op.ADD_WATCH, "/n", 0, -1)
    bench.send(a, 3, Op.GET_DATA, "/n", True)
    bench.send(a, 4, Op.SET_DATA, "/n", b"1", -1)
    bench.send(a, 5, Op.DELETE, "/n", -1)
    bench.create(a, 6, "/n")
    bench.create(a, 7, "/n/child")
    bench.create(a, 8, "/n/child/grandchild")
    bench.sync()
    heard = [entry[2] for entry in told.entries if entry[0] == "events"]
    assert heard == [((CHANGED, "/n"),), ((DELETED, "/n"),), ((CREATED, "/n"),), ((CHILDREN, "/n"),)]


def test_a_recursive_watch_tells_of_every_znode_below_and_never_of_children() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.ADD_WATCH, "/n", 1, -1)
    for number, path in enumerate(("/n", "/n/x", "/n/x/y", "/nn"), 2):
        bench.create(a, number, path)
    bench.send(a, 9, Op.SET_DATA, "/n/x/y", b"1", -1)
    bench.send(a, 10, Op.SET_ACL, "/n/x/y", None, -1)
    bench.send(a, 11, Op.DELETE, "/n/x/y", -1)
    bench.sync()
    heard = [entry[2] for entry in told.entries if entry[0] == "events"]
    assert heard == [
        ((CREATED, "/n"),),
        ((CREATED, "/n/x"),),
        ((CREATED, "/n/x/y"),),
        ((CHANGED, "/n/x/y"),),
        ((DELETED, "/n/x/y"),),
    ]


def test_the_events_of_a_multi_come_together_in_its_order_and_a_failed_one_tells_nothing() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.ADD_WATCH, "/", 1, -1)
    good = (1, "/m", b"", None, 0, 0), (5, "/m", b"1", 0), (2, "/m", 1), (1, "/m", b"", None, 0, 0)
    bench.send(a, 2, Op.MULTI, (*good, (13, "/none", -1)))
    bench.send(a, 3, Op.MULTI, good)
    bench.sync()
    heard = [entry for entry in told.entries if entry[0] == "events"]
    assert heard == [("events", 3, ((CREATED, "/m"), (CHANGED, "/m"), (DELETED, "/m"), (CREATED, "/m")))]


def test_the_end_of_a_session_tells_of_its_ephemerals_at_one_zxid() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    b, _, _ = bench.connected()
    bench.create(a, 1, "/p")
    bench.create(b, 1, "/p/1", mode=1)
    bench.create(b, 2, "/p/2", mode=1)
    bench.sync()
    bench.send(a, 2, Op.ADD_WATCH, "/p", 0, -1)
    bench.send(a, 3, Op.GET_DATA, "/p/2", True)
    told.take()
    bench.send(b, 3, Op.CLOSE_SESSION)
    bench.sync()
    assert told.take() == [("events", 6, ((CHILDREN, "/p"), (DELETED, "/p/2"), (CHILDREN, "/p")))]


def test_an_event_that_may_not_be_read_is_dropped_but_spends_the_watch() -> None:
    ann = (Identity("digest", "ann:hash"),)
    bench = Bench()
    a, _, _ = bench.connected(identities=ann)
    b, told, _ = bench.connected()
    bench.create(a, 1, "/secret")
    bench.sync()
    bench.send(b, 1, Op.GET_DATA, "/secret", True)
    bench.send(b, 2, Op.ADD_WATCH, "/secret", 0, -1)
    bench.send(a, 2, Op.SET_ACL, "/secret", [[31, "digest", "ann:hash"]], -1)
    bench.send(a, 3, Op.SET_DATA, "/secret", b"1", -1)
    bench.sync()
    told.take()
    assert bench.engine.watches.counts() == (1, 1)
    bench.send(a, 4, Op.SET_ACL, "/secret", None, -1)
    bench.send(a, 5, Op.SET_DATA, "/secret", b"2", -1)
    bench.sync()
    assert told.take() == [("events", 7, ((CHANGED, "/secret"),))]


def test_watches_go_with_their_connection_and_can_be_removed() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.send(a, 1, Op.ADD_WATCH, "/n", 0, -1)
    bench.send(a, 2, Op.REMOVE_WATCHES, "/n", 1)
    bench.send(a, 3, Op.REMOVE_WATCHES, "/n", 4)
    bench.send(a, 4, Op.REMOVE_WATCHES, "/n", 4)
    bench.send(a, 5, Op.ADD_WATCH, "/n", 2, -1)
    assert replies(told.take()) == [(1, 0), (2, -121), (3, 0), (4, -121), (5, -5)]
    bench.send(a, 6, Op.ADD_WATCH, "/n", 1, -1)
    bench.engine.detach(a, bench.now)
    assert bench.engine.watches.counts() == (0, 0)


@pytest.mark.parametrize("mode", [0, 1])
def test_a_watch_resumes_from_a_zxid_before_its_reply(mode: int) -> None:
    bench = Bench()
    a, _, _ = bench.connected()
    for number, path in enumerate(("/n", "/n/x", "/n/y"), 1):
        bench.create(a, number, path)
    bench.sync()
    b, told, _ = bench.connected()
    bench.send(b, 1, Op.ADD_WATCH, "/n", mode, 2)
    below = ((CREATED, "/n/x"), (CREATED, "/n/y")) if mode else ((CHILDREN, "/n"),) * 2
    assert told.take() == [
        ("events", 3, (below[0],)),
        ("events", 4, (below[1],)),
        ("reply", 1, 5, 0, (True,)),
    ]


def test_a_watch_cannot_resume_below_the_ring_nor_from_another_history_nor_from_the_future() -> None:
    bench = Bench()
    a, told, _ = bench.connected()
    bench.machine.ring.floor = 1
    bench.send(a, 1, Op.ADD_WATCH, "/n", 0, 0)
    bench.send(a, 2, Op.ADD_WATCH, "/n", 0, 99)
    b, other, _ = bench.connected(history_id=b"another")
    bench.send(b, 1, Op.ADD_WATCH, "/n", 0, 1)
    assert [entry[4] for entry in (*told.take(), *other.take())] == [(False,)] * 3


def test_the_ring_forgets_whole_zxids_and_says_from_where_it_knows() -> None:
    from coordserver.core.state.ring import EventRing

    ring = EventRing(limit=4)
    for zxid in range(1, 6):
        ring.append(zxid, ((CREATED, f"/{zxid}", OPEN_ACL_UNSAFE, None),) * 2)
    assert (ring.floor, len(ring)) == (3, 4)
    assert ring.about(2, "/", below=True) is None
    assert [zxid for zxid, _ in ring.about(3, "/", below=True) or ()] == [4, 5]
    assert ring.about(5, "/", below=True) == []


def test_watches_are_limited() -> None:
    bench = Bench(watches_per_session=2)
    a, told, _ = bench.connected()
    for number in range(1, 4):
        bench.send(a, number, Op.ADD_WATCH, f"/{number}", 0, -1)
    assert replies(told.take()) == [(1, 0), (2, 0), (3, -1007)]


def test_of_many_events_each_hears_its_own_in_their_order_and_equals_hear_the_same_object() -> None:
    manager: WatchManager[Any] = WatchManager()
    everything, also, some = (Attachment(Told(), (), name, True) for name in "abc")
    manager.add("/", 1, everything)
    manager.add("/", 1, also)
    manager.add("/odd", 1, some)
    events = [(2, f"/{'odd' if at % 2 else 'even'}/{at}", OPEN_ACL_UNSAFE, OPEN_ACL_UNSAFE) for at in range(1_000)]
    heard = manager.fire(events)
    assert heard[everything] == tuple((kind, path) for kind, path, _, _ in events)
    assert heard[everything] is heard[also]
    assert heard[some] == heard[everything][1::2]


@pytest.mark.parametrize("group", range(5))
def test_watches_set_again_keep_to_the_limit_and_are_counted_once(group: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that comes back sends all that it had, 100,000 paths in one request."""
    bench = Bench(watches_per_session=50)
    a, told, _ = bench.connected()
    lists: list[tuple[str, ...]] = [(), (), (), (), ()]
    lists[group] = tuple(f"/{at}" for at in range(49)) + ("/0",) * 3
    if group in (0, 2):
        for at in range(49):
            bench.create(a, at + 1, f"/{at}", acked=at + 1)
        bench.sync()
        told.take()
    looks = [0]
    held_by = WatchManager.held_by

    def counted(manager: Any, watcher: Any) -> int:
        looks[0] += 1
        return held_by(manager, watcher)

    monkeypatch.setattr(WatchManager, "held_by", counted)
    bench.send(a, 100, Op.SET_WATCHES2, 2**40, *lists, acked=100)
    assert replies(told.take()) == [(100, 0)]
    assert bench.engine.watches.held_by(a) == 49
    assert looks[0] <= 4
    bench.send(a, 101, Op.SET_WATCHES2, 2**40, (), ("/new", "/over"), (), (), (), acked=100)
    assert replies(told.take()) == [(101, -1007)]
    assert bench.engine.watches.held_by(a) == 50
