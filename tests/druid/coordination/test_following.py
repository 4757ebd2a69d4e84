"""Views of a subtree: complete before they claim anything, right through garbage, resyncs and new sessions."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from coordserver.client import Client, NoNodeError
from coordserver.client.values import Node
from druidroles.coordination.payloads import dumps, dumps_gz, loads
from druidroles.coordination.tree_view import Take, View, decoded

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


class Numbers(View):
    """The JSON of each znode below two roots, and the order in which they were taken."""

    def __init__(self, zk: Client) -> None:
        super().__init__(zk)
        self.values: dict[tuple[str, ...], Any] = {}
        self.taken: list[tuple[str, bool]] = []

    def _roots(self) -> Sequence[tuple[str, Take]]:
        return [("/a", self._take), ("/b", self._take)]

    def _take(self, parts: tuple[str, ...], znode: Node | None) -> None:
        self.taken.append(("/".join(parts), znode is not None))
        value = decoded("/".join(parts), znode, loads)
        if value is None:
            self.values.pop(parts, None)
        else:
            self.values[parts] = value


async def test_it_knows_all_before_it_is_synced(zk: Client, other: Client) -> None:
    for path in ("/a/1", "/a/1/deep", "/b/2"):
        await other.create(path, dumps(path), makepath=True)
    await other.set("/a/1", dumps("/a/1"))
    async with Numbers(zk) as view:
        assert not view.synced
        await view.wait_synced()
        assert view.synced
        assert view.values == {("1",): "/a/1", ("1", "deep"): "/a/1/deep", ("2",): "/b/2"}
        assert sorted(name for name, _ in view.taken) == ["1", "1/deep", "2"]  # each once


async def test_a_root_that_is_missing_may_come_later(zk: Client, other: Client) -> None:
    async with Numbers(zk) as view:
        await view.wait_synced()
        seen = view.revision.value
        await other.create("/a/x", dumps(1), makepath=True)
        while not view.values:
            seen = await view.changed(seen)
        assert view.values == {("x",): 1}


async def test_additions_come_before_removals(zk: Client, other: Client) -> None:
    await other.create("/a/old", dumps(1), makepath=True)
    async with Numbers(zk) as view:
        await view.wait_synced()
        view.taken.clear()
        await other.transaction().delete("/a/old").create("/a/new", dumps(1)).commit()
        while ("old",) in view.values:
            await view.changed()
        assert view.taken == [("new", True), ("old", False)]


async def test_garbage_is_reported_once_and_counts_as_nothing(
    zk: Client, other: Client, caplog: pytest.LogCaptureFixture
) -> None:
    await other.create("/a/good", dumps_gz(1), makepath=True)
    garbage = {"empty": b"", "text": b"{", "gzip": b"\x1f\x8bnonsense", "cut": dumps_gz([1] * 100)[:-9]}
    for name, data in garbage.items():
        await other.create(f"/a/{name}", data)
    with caplog.at_level(logging.WARNING):
        async with Numbers(zk) as view:
            await view.wait_synced()
            assert view.values == {("good",): 1}
            await other.set("/a/empty", dumps(2))
            await other.set("/a/good", b"\xff")
            while view.values != {("empty",): 2}:
                await view.changed()
    for name in garbage:
        assert sum(f"skipping znode {name}:" in line for line in caplog.messages) == 1


async def test_the_next_session_tells_only_the_difference(
    zk: Client, other: Client, expire: Callable[[Client], Awaitable[None]]
) -> None:
    for name in ("stays", "goes", "changes"):
        await other.create(f"/a/{name}", dumps(1), makepath=True)
    async with Numbers(zk) as view:
        await view.wait_synced()
        view.taken.clear()
        await expire(zk)
        await other.delete("/a/goes")
        await other.set("/a/changes", dumps(2))
        await other.create("/a/comes", dumps(3))
        while len(view.values) != 3 or ("goes",) in view.values or view.values[("changes",)] != 2:
            await view.changed()
        assert view.synced
        assert ("stays", True) not in view.taken
        assert ("stays", False) not in view.taken


async def test_what_the_body_raises_comes_out_as_it_is(zk: Client) -> None:
    async def use() -> None:
        async with Numbers(zk) as view:
            await view.wait_synced()
            await zk.get("/none")

    with pytest.raises(NoNodeError):
        await use()
