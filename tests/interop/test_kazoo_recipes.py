"""All of kazoo's recipes, with several clients in threads, against a real server process."""

from __future__ import annotations

import datetime
import threading
import time
from collections import Counter as Tally

import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import CancelledError, LockTimeout
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.recipe.watchers import PatientChildrenWatch
from kazoo_clients import WAIT_S, Clients, Thread, came, until

HOUR = datetime.timedelta(hours=1)


@pytest.fixture
def trio_of_clients(clients: Clients, root: str) -> list[KazooClient]:
    """Three clients chrooted to this test's znode."""
    return [clients(root) for _ in range(3)]


class Inside:
    """Counts who is in a critical section; `most` at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = 0
        self.most = 0
        self.visits = 0

    def __enter__(self) -> None:
        with self._lock:
            self._now += 1
            self.visits += 1
            self.most = max(self.most, self._now)
        time.sleep(0.002)  # long enough for another to come in, if it could

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._now -= 1


# -- locks ------------------------------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one(trio_of_clients: list[KazooClient]) -> None:
    section = Inside()

    def work(client: KazooClient) -> None:
        for _ in range(5):
            with client.Lock("/lock", "me"), section:
                pass

    for thread in [Thread(lambda client=client: work(client)) for client in trio_of_clients]:
        thread.result()
    assert (section.most, section.visits) == (1, 15)


def test_lock_contenders_timeout_cancel_and_non_blocking(trio_of_clients: list[KazooClient]) -> None:
    first, second, third = (client.Lock("/lock", name) for client, name in zip(trio_of_clients, "abc", strict=True))
    assert first.acquire()
    assert not second.acquire(blocking=False)
    with pytest.raises(LockTimeout):
        second.acquire(timeout=0.05)
    waiting = Thread(third.acquire)
    until(lambda: first.contenders() == ["a", "c"])
    third.cancel()
    with pytest.raises(CancelledError):
        waiting.result()
    assert first.contenders() == ["a"]
    assert first.release()
    assert second.acquire(timeout=WAIT_S, ephemeral=False)
    assert second.release()


def test_a_lock_passes_on_when_its_holder_goes(trio_of_clients: list[KazooClient]) -> None:
    holder, heir = trio_of_clients[:2]
    assert holder.Lock("/lock").acquire()
    waiting = Thread(lambda: heir.Lock("/lock").acquire(timeout=WAIT_S))
    until(lambda: len(heir.get_children("/lock")) == 2)
    holder.stop()
    assert waiting.result()


def test_readers_share_and_writers_do_not(trio_of_clients: list[KazooClient]) -> None:
    one, two, three = trio_of_clients
    readers = [one.ReadLock("/rw"), two.ReadLock("/rw")]
    assert all(reader.acquire(timeout=WAIT_S) for reader in readers)
    writer = three.WriteLock("/rw")
    assert not writer.acquire(blocking=False)
    waiting = Thread(lambda: writer.acquire(timeout=WAIT_S))
    until(lambda: len(one.get_children("/rw")) == 3)
    late = one.ReadLock("/rw")
    assert not late.acquire(blocking=False), "a reader overtook a waiting writer"
    for reader in readers:
        reader.release()
    assert waiting.result()
    writer.release()
    assert late.acquire(timeout=WAIT_S)


def test_a_semaphore_has_so_many_leases(trio_of_clients: list[KazooClient]) -> None:
    section = Inside()

    def work(client: KazooClient) -> None:
        for _ in range(5):
            with client.Semaphore("/sem", max_leases=2), section:
                pass

    for thread in [Thread(lambda client=client: work(client)) for client in trio_of_clients]:
        thread.result()
    assert section.visits == 15
    assert section.most <= 2
    one, two, three = (
        client.Semaphore("/sem", name, max_leases=2) for client, name in zip(trio_of_clients, "abc", strict=True)
    )
    assert one.acquire()
    assert two.acquire()
    assert not three.acquire(blocking=False)
    assert sorted(one.lease_holders()) == ["a", "b"]
    one.release()
    assert three.acquire(timeout=WAIT_S)


def test_an_election_has_one_leader_and_then_the_next(trio_of_clients: list[KazooClient]) -> None:
    led: list[str] = []
    go_on = threading.Semaphore(0)

    def lead(name: str) -> None:
        led.append(name)
        assert go_on.acquire(timeout=WAIT_S)

    elections = {name: client.Election("/elect", name) for client, name in zip(trio_of_clients, "abc", strict=True)}
    threads = []
    for name, election in elections.items():
        threads.append(Thread(lambda election=election, name=name: election.run(lead, name)))
        until(lambda election=election, name=name: name in election.contenders())
    until(lambda: led)
    assert led == ["a"]
    assert elections["a"].contenders() == ["a", "b", "c"]
    elections["c"].cancel()
    go_on.release(2)
    for thread in threads:
        thread.result()
    assert led == ["a", "b"]


# -- meeting points ---------------------------------------------------------------------------------------------------


def test_a_barrier_holds_until_it_is_removed(trio_of_clients: list[KazooClient]) -> None:
    keeper, *others = trio_of_clients
    barrier = keeper.Barrier("/barrier")
    assert keeper.Barrier("/none").wait(0)
    barrier.create()
    assert not others[0].Barrier("/barrier").wait(0.05)
    waiting = [Thread(lambda client=client: client.Barrier("/barrier").wait(WAIT_S)) for client in others]
    barrier.remove()
    assert all(thread.result() for thread in waiting)


def test_a_double_barrier_lets_all_in_and_all_out(trio_of_clients: list[KazooClient]) -> None:
    entered, left = threading.Semaphore(0), []

    def work(client: KazooClient, name: str) -> None:
        barrier = client.DoubleBarrier("/double", num_clients=3, identifier=name)
        barrier.enter()
        assert barrier.participating
        entered.release()
        until(lambda: entered._value == 3)
        barrier.leave()
        left.append(name)

    first = [Thread(lambda c=c, n=n: work(c, n)) for c, n in zip(trio_of_clients[:2], "ab", strict=True)]
    until(lambda: len(trio_of_clients[0].get_children("/double") if trio_of_clients[0].exists("/double") else ()) == 2)
    assert entered._value == 0, "two of three were let in"
    last = Thread(lambda: work(trio_of_clients[2], "c"))
    for thread in (*first, last):
        thread.result()
    assert sorted(left) == ["a", "b", "c"]


def test_parties(trio_of_clients: list[KazooClient]) -> None:
    parties = [client.Party("/party", name) for client, name in zip(trio_of_clients, "abc", strict=True)]
    for party in parties:
        party.join()
    assert sorted(parties[0]) == ["a", "b", "c"]
    assert len(parties[1]) == 3
    parties[0].leave()
    assert sorted(parties[1]) == ["b", "c"]
    trio_of_clients[1].stop()
    until(lambda: sorted(parties[2]) == ["c"])
    shallow = trio_of_clients[0].ShallowParty("/shallow", "s")
    shallow.join()
    assert list(trio_of_clients[2].ShallowParty("/shallow")) == ["s"]


def test_a_set_is_partitioned_and_partitioned_again(trio_of_clients: list[KazooClient]) -> None:
    items = tuple(f"q{i}" for i in range(7))
    partitioners = [
        client.SetPartitioner("/set", items, identifier=name, time_boundary=0.1)
        for client, name in zip(trio_of_clients, "abc", strict=True)
    ]

    def shares(members: int) -> list[list[str]] | None:
        for partitioner in partitioners[:members]:
            assert not partitioner.failed
            if partitioner.release:
                partitioner.release_set()
            elif partitioner.allocating:
                partitioner.wait_for_acquire(0.02)
        if not all(partitioner.acquired for partitioner in partitioners[:members]):
            return None
        found = [list(partitioner) for partitioner in partitioners[:members]]
        return found if sorted(item for share in found for item in share) == sorted(items) else None

    assert sorted(map(len, until(lambda: shares(3)))) == [2, 2, 3]
    partitioners[2].finish()
    assert partitioners[2].failed
    assert sorted(map(len, until(lambda: shares(2)))) == [3, 4]
    for partitioner in partitioners[:2]:
        partitioner.finish()


# -- values and queues ------------------------------------------------------------------------------------------------


def test_a_counter_loses_nothing(trio_of_clients: list[KazooClient]) -> None:
    def count(client: KazooClient) -> None:
        counter = client.Counter("/counter")
        for _ in range(10):
            counter += 2
            counter -= 1

    for thread in [Thread(lambda client=client: count(client)) for client in trio_of_clients]:
        thread.result()
    assert trio_of_clients[0].Counter("/counter").value == 30
    fraction = trio_of_clients[1].Counter("/fraction", default=1.0)
    fraction += 0.5
    assert (fraction.value, fraction.pre_value, fraction.post_value) == (1.5, 1.0, 1.5)
    unsigned = trio_of_clients[1].Counter("/hex", support_curator=True)
    unsigned += 5
    assert trio_of_clients[2].Counter("/hex", support_curator=True).value == 5


def test_a_queue_gives_each_value_once(trio_of_clients: list[KazooClient]) -> None:
    producer, *consumers = trio_of_clients
    jobs = producer.Queue("/queue")
    for i in range(20):
        jobs.put(b"%d" % i, priority=100)
    jobs.put(b"first", priority=1)
    assert len(jobs) == 21
    assert jobs.get() == b"first"
    taken: list[bytes] = []

    def consume(client: KazooClient) -> None:
        mine = client.Queue("/queue")
        while (value := mine.get()) is not None:
            taken.append(value)

    for thread in [Thread(lambda client=client: consume(client)) for client in consumers]:
        thread.result()
    assert Tally(taken) == Tally(b"%d" % i for i in range(20))


def test_a_locking_queue_gives_back_what_was_not_consumed(trio_of_clients: list[KazooClient]) -> None:
    one, two, three = (client.LockingQueue("/lq") for client in trio_of_clients)
    one.put_all([b"a", b"b"])
    assert one.get() == b"a"
    assert one.holds_lock()
    assert two.get() == b"b"
    assert three.get(timeout=0.05) is None
    assert two.release()
    assert three.get(timeout=WAIT_S) == b"b"
    assert three.consume()
    waiting = Thread(lambda: two.get(timeout=WAIT_S))
    trio_of_clients[0].stop()  # holds a
    assert waiting.result() == b"a"
    assert two.consume()
    assert len(two) == 0


def test_leases(trio_of_clients: list[KazooClient]) -> None:
    one, two, three = trio_of_clients

    def now() -> datetime.datetime:
        return datetime.datetime(2026, 1, 1)

    assert one.NonBlockingLease("/lease", HOUR, identifier="a", utcnow=now)
    assert not two.NonBlockingLease("/lease", HOUR, identifier="b", utcnow=now)
    assert one.NonBlockingLease("/lease", HOUR, identifier="a", utcnow=now), "renewed"
    assert two.NonBlockingLease("/lease", HOUR, identifier="b", utcnow=lambda: now() + 2 * HOUR)
    leases = [
        client.MultiNonBlockingLease(2, "/multi", HOUR, identifier=name, utcnow=now)
        for client, name in ((one, "a"), (two, "b"), (three, "c"))
    ]
    assert [bool(lease) for lease in leases] == [True, True, False]


# -- views ------------------------------------------------------------------------------------------------------------


def test_a_tree_cache_follows(trio_of_clients: list[KazooClient]) -> None:
    watcher, writer = trio_of_clients[:2]
    writer.create("/tree/a/b", b"deep", makepath=True)
    cache = TreeCache(watcher, "/tree")
    events: list[TreeEvent] = []
    ready, faults = threading.Event(), []
    cache.listen(lambda event: ready.set() if event.event_type == TreeEvent.INITIALIZED else events.append(event))
    cache.listen_fault(faults.append)
    cache.start()
    came(ready)
    assert cache.get_data("/tree/a/b").data == b"deep"
    assert cache.get_children("/tree") == {"a"}
    for i in range(50):
        writer.create(f"/tree/n{i}", b"%d" % i)
    writer.set("/tree/a/b", b"new")
    writer.delete("/tree/n0")
    until(lambda: (node := cache.get_data("/tree/a/b")) and node.data == b"new")
    until(lambda: len(cache.get_children("/tree")) == 50)
    watcher._connection._socket.shutdown(2)
    writer.delete("/tree/a", recursive=True)
    until(lambda: cache.get_data("/tree/a/b") is None and "a" not in cache.get_children("/tree"))
    cache.close()
    assert faults == []


def test_a_patient_watch_waits_until_children_settle(trio_of_clients: list[KazooClient]) -> None:
    watcher, writer = trio_of_clients[:2]
    writer.ensure_path("/patient")
    first = PatientChildrenWatch(watcher, "/patient", time_boundary=0.05).start()
    children, changed = first.get(timeout=WAIT_S)
    assert children == []
    writer.create("/patient/x")
    changed.get(timeout=WAIT_S)
