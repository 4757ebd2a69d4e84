"""Who serves what, as Coordinator and Broker see it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from made_segments import make_segment

from coordserver.client import Client
from druidroles.coordination.announcements import announced_server
from druidroles.coordination.inventory import ServerInventory, read_batch
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps, dumps_gz
from druidroles.model.decode import ModelError
from druidroles.model.server import DruidServerMetadata

ME = "127.0.0.1:8083"
SERVER = DruidServerMetadata(name=ME, host=ME, max_size=10)


def batch(*days: int) -> bytes:
    return dumps_gz([make_segment(day).to_json() for day in days])


def ids(*days: int) -> list[str]:
    return [make_segment(day).id for day in days]


@pytest.fixture
async def inventory(zk: Client, paths: DruidPaths) -> AsyncIterator[ServerInventory]:
    async with ServerInventory(zk, paths) as view:
        await view.wait_synced()
        yield view


async def come(inventory: ServerInventory, other: Client, paths: DruidPaths) -> None:
    """Announce the server and wait until it is seen."""
    await other.create(paths.announcement(ME), dumps_gz(SERVER.to_json()), ephemeral=True)
    while ME not in inventory.servers:
        await inventory.changed()


async def test_a_servers_segments_count_while_it_is_announced(
    inventory: ServerInventory, other: Client, paths: DruidPaths
) -> None:
    await other.create(f"{paths.segments_of(ME)}/b0", batch(1, 2), makepath=True)
    await come(inventory, other, paths)
    while len(inventory.segments_of(ME)) < 2:
        await inventory.changed()
    assert [(delta.old, delta.new) for delta in inventory.server_deltas.take()] == [(None, SERVER)]
    assert {delta.key for delta in inventory.segment_deltas.take()} == {(ME, name) for name in ids(1, 2)}
    await other.delete(paths.announcement(ME))
    while ME in inventory.servers:
        await inventory.changed()
    assert inventory.segments_of(ME) == {}
    assert {delta.key[1]: delta.new for delta in inventory.segment_deltas.take()} == dict.fromkeys(ids(1, 2))
    await come(inventory, other, paths)
    assert sorted(inventory.segments_of(ME)) == ids(1, 2)
    assert all(delta.new is not None for delta in inventory.segment_deltas.take())


async def test_a_segment_that_moves_between_batches_is_never_missing(
    inventory: ServerInventory, other: Client, paths: DruidPaths
) -> None:
    await come(inventory, other, paths)
    directory = paths.segments_of(ME)
    await other.create(f"{directory}/b0", batch(1, 2), makepath=True)
    while len(inventory.segments_of(ME)) < 2:
        await inventory.changed()
    inventory.segment_deltas.take()
    moved = other.transaction().set(f"{directory}/b0", batch(2)).create(f"{directory}/b1", batch(1, 3))
    await moved.commit()
    while len(inventory.segments_of(ME)) < 3:
        await inventory.changed()
    assert [delta.key[1] for delta in inventory.segment_deltas.take()] == ids(3)
    await other.delete(f"{directory}/b1")
    while len(inventory.segments_of(ME)) > 1:
        await inventory.changed()
    assert list(inventory.segments_of(ME)) == ids(2)


async def test_a_segment_in_two_batches_goes_with_the_last(
    inventory: ServerInventory, other: Client, paths: DruidPaths
) -> None:
    await come(inventory, other, paths)
    directory = paths.segments_of(ME)
    await other.ensure_path(directory)
    await other.transaction().create(f"{directory}/b0", batch(1)).create(f"{directory}/b1", batch(1, 2)).commit()
    while len(inventory.segments_of(ME)) < 2:
        await inventory.changed()
    await other.delete(f"{directory}/b0")
    await other.create(f"{directory}/b2", batch(3))
    while len(inventory.segments_of(ME)) < 3:
        await inventory.changed()
    assert sorted(inventory.segments_of(ME)) == ids(1, 2, 3)
    await other.delete(f"{directory}/b1")
    while len(inventory.segments_of(ME)) > 1:
        await inventory.changed()
    assert list(inventory.segments_of(ME)) == ids(3)


async def test_a_server_announced_anew_in_one_transaction_never_leaves(
    inventory: ServerInventory, other: Client, paths: DruidPaths
) -> None:
    await come(inventory, other, paths)
    inventory.server_deltas.take()
    path = paths.announcement(ME)
    larger = DruidServerMetadata(name=ME, host=ME, max_size=20)
    await other.transaction().delete(path).create(path, dumps_gz(larger.to_json()), ephemeral=True).commit()
    while inventory.servers[ME].max_size != 20:
        await inventory.changed()
    assert [(delta.old, delta.new) for delta in inventory.server_deltas.take()] == [(SERVER, larger)]


async def test_garbage_serves_nothing(inventory: ServerInventory, other: Client, paths: DruidPaths) -> None:
    await come(inventory, other, paths)
    directory = paths.segments_of(ME)
    await other.create(f"{directory}/b0", b"{}", makepath=True)
    await other.create(f"{paths.announcements}/odd", b"[]", ephemeral=True)
    await other.create(f"{directory}/b1", batch(1))
    while not inventory.segments_of(ME):
        await inventory.changed()
    assert list(inventory.servers) == [ME]
    await other.set(f"{directory}/b1", b"broken")
    while inventory.segments_of(ME):
        await inventory.changed()


def test_a_batch_is_an_array_of_segments() -> None:
    assert list(read_batch(dumps([make_segment(1).to_json()]))) == ids(1)
    for data in (b"{}", b"[1]", b'[{"dataSource":"x"}]', b"", b"null"):
        with pytest.raises(ModelError):
            read_batch(data)


async def test_a_segment_announced_by_two_servers_is_one_object(zk: Client, other: Client, paths: DruidPaths) -> None:
    segment = make_segment(1)
    async with ServerInventory(zk, paths) as view:
        await view.wait_synced()
        names = ["127.0.0.1:1", "127.0.0.1:2"]
        async with (
            announced_server(other, paths, DruidServerMetadata(names[0]), [segment]),
            announced_server(other, paths, DruidServerMetadata(names[1]), [segment]) as second,
        ):
            while not all(view.segments_of(name) for name in names):
                await view.changed()
            one, two = (view.segments_of(name)[segment.id] for name in names)
            assert one is two
            await second.change(remove=[segment.id])
            while view.segments_of(names[1]):
                await view.changed()
            assert view.segments_of(names[0])[segment.id] is one
        while view.servers:
            await view.changed()
        assert view._segments == {}


def test_what_another_server_says_of_the_same_id_counts_where_it_differs() -> None:
    segment = make_segment(1, size=5)
    known = {segment.id: make_segment(1, size=100)}
    [found] = read_batch(dumps_gz([segment.to_json()]), known).values()
    assert found.size == 5
