"""Values found along a path: those that looking up every prefix finds, without taking the path apart further."""

from __future__ import annotations

from typing import Any

import pytest
from engine_bench import Bench
from hypothesis import given, settings
from hypothesis import strategies as st

from coordserver.core.model.acl import OPEN_ACL_UNSAFE
from coordserver.core.model.operations import Op
from coordserver.core.model.paths import ancestors
from coordserver.core.model.prefixes import Prefixes
from coordserver.core.serving.watches import WatchManager

ODD = ("", "a", "a/b", "/a/", "//", "//a", "/a//b")
znodes = st.lists(st.sampled_from(("a", "b", "ab")), max_size=4).map(lambda names: "/" + "/".join(names))
anything = st.one_of(znodes, st.sampled_from(ODD))
steps = st.tuples(st.sampled_from(("put", "put", "remove", "along")), anything)


@settings(max_examples=500, deadline=None)
@given(st.lists(steps, max_size=40), st.lists(znodes, max_size=5))
def test_what_lies_along_a_path_is_at_its_prefixes(history: list[tuple[str, str]], asked: list[str]) -> None:
    found: Prefixes[str] = Prefixes()
    table: dict[str, str] = {}
    for what, path in history:
        if what == "put":
            found.put(path, path)
            table[path] = path
        elif what == "remove":
            found.remove(path)
            table.pop(path, None)
    for path in asked:
        assert found.along(path)[::-1] == [above for above in (path, *ancestors(path)) if above in table]
    for path in tuple(table):
        found.remove(path)
    assert found._root.below == {}
    assert found._root.value is None


class Cut(str):
    """A path that counts how often a part of it is taken."""

    cuts = 0

    def __getitem__(self, key: Any) -> str:
        Cut.cuts += 1
        return Cut(super().__getitem__(key))


@pytest.mark.parametrize(("watched", "most"), [("/none", 2), ("/a", 3), ("/a/a/a", 5), ("/", 2)])
def test_a_change_of_a_deep_znode_looks_no_further_than_subtrees_are_watched(watched: str, most: int) -> None:
    """Each change of a znode 5,000 deep once cut 5,000 prefixes and hashed them, 14 ms, where anything was watched."""
    bench = Bench()
    a, _, _ = bench.connected()
    manager: WatchManager[Any] = WatchManager()
    manager.add(watched, 1, a)
    path = Cut("/a" * 5_000)
    Cut.cuts = 0
    heard = manager.fire([(3, path, OPEN_ACL_UNSAFE, OPEN_ACL_UNSAFE)])
    assert bool(heard) == (watched != "/none")
    assert Cut.cuts <= most


def test_a_deep_znode_under_a_quota_is_found_with_as_few_cuts() -> None:
    bench = Bench()
    a, _, _ = bench.connected()
    for number, path in enumerate(("/a", "/zookeeper/quota/a", "/zookeeper/quota/a/zookeeper_limits"), 1):
        bench.send(a, number, Op.CREATE, path, b"", None, 0, 0)
    bench.sync()
    Cut.cuts = 0
    assert bench.machine.tree.quotas.over(Cut("/a" * 5_000)) == "/a"
    assert bench.machine.tree.quotas.over(Cut("/b" * 5_000)) is None
    assert Cut.cuts <= 5
