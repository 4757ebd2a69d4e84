"""What each operation may be asked, and what it may answer, for round trips (hypothesis)."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from coordserver.core.model.operations import Op
from coordserver.core.model.stat import Stat

paths = st.text(max_size=20).map(lambda text: "/" + text.encode("utf-8", "ignore").decode())
texts = st.text(max_size=12).map(lambda text: text.encode("utf-8", "ignore").decode())
ints = st.integers(-(2**31), 2**31 - 1)
longs = st.integers(-(2**63), 2**63 - 1)
blobs = st.none() | st.binary(max_size=60)
acls = st.lists(st.tuples(ints, texts, texts), max_size=3).map(tuple)
path_lists = st.lists(paths, max_size=3).map(tuple)
stats = st.builds(Stat, *(longs,) * 4, *(ints,) * 3, longs, *(ints,) * 2, longs)

_path_version = st.tuples(paths, ints)
_watching = st.tuples(paths, st.booleans())
_creating = st.tuples(paths, blobs, acls, ints)

PARTS: dict[int, st.SearchStrategy[tuple[Any, ...]]] = {
    int(Op.CREATE): _creating,
    int(Op.CREATE2): _creating,
    int(Op.CREATE_CONTAINER): _creating,
    int(Op.CREATE_TTL): st.tuples(paths, blobs, acls, ints, longs),
    int(Op.DELETE): _path_version,
    int(Op.CHECK): _path_version,
    int(Op.SET_DATA): st.tuples(paths, blobs, ints),
}
"""Operations of a multi."""

READ_PARTS: dict[int, st.SearchStrategy[tuple[Any, ...]]] = {
    int(Op.GET_DATA): _watching,
    int(Op.GET_CHILDREN): _watching,
}


def _list_of(parts: dict[int, st.SearchStrategy[tuple[Any, ...]]]) -> st.SearchStrategy[tuple[Any, ...]]:
    one = st.one_of([st.tuples(st.just(op), arguments).map(lambda p: (p[0], *p[1])) for op, arguments in parts.items()])
    return st.lists(one, max_size=4).map(lambda operations: (tuple(operations),))


REQUESTS: dict[int, st.SearchStrategy[tuple[Any, ...]]] = {
    **{op: arguments for op, arguments in PARTS.items() if op != Op.CHECK},
    **READ_PARTS,
    int(Op.EXISTS): _watching,
    int(Op.GET_CHILDREN2): _watching,
    int(Op.SET_ACL): st.tuples(paths, acls, ints),
    **{int(op): st.tuples(paths) for op in (Op.GET_ACL, Op.SYNC, Op.GET_EPHEMERALS, Op.GET_ALL_CHILDREN_NUMBER)},
    **{int(op): st.just(()) for op in (Op.PING, Op.WHO_AM_I, Op.CLOSE_SESSION)},
    **{int(op): _path_version for op in (Op.CHECK_WATCHES, Op.REMOVE_WATCHES, Op.ADD_WATCH)},
    int(Op.SET_WATCHES): st.tuples(longs, path_lists, path_lists, path_lists),
    int(Op.SET_WATCHES2): st.tuples(longs, *(path_lists,) * 5),
    int(Op.MULTI): _list_of(PARTS),
    int(Op.MULTI_READ): _list_of(READ_PARTS),
}
"""Arguments as a client gives them to jute's encoder."""

_named = st.lists(texts, max_size=4).map(tuple)

RESULTS: dict[int, st.SearchStrategy[tuple[Any, ...]]] = {
    int(Op.CREATE): st.tuples(paths),
    **{int(op): st.tuples(paths, stats) for op in (Op.CREATE2, Op.CREATE_CONTAINER, Op.CREATE_TTL)},
    **{int(op): st.just(()) for op in (Op.DELETE, Op.PING, Op.CHECK_WATCHES, Op.REMOVE_WATCHES, Op.CLOSE_SESSION)},
    **{int(op): st.tuples(stats) for op in (Op.EXISTS, Op.SET_DATA, Op.SET_ACL)},
    int(Op.GET_DATA): st.tuples(blobs, stats),
    int(Op.GET_ACL): st.tuples(acls, stats),
    int(Op.GET_CHILDREN): st.tuples(_named),
    int(Op.GET_CHILDREN2): st.tuples(_named, stats),
    int(Op.GET_EPHEMERALS): st.tuples(_named),
    int(Op.GET_ALL_CHILDREN_NUMBER): st.tuples(ints),
    int(Op.SYNC): st.tuples(paths),
    int(Op.WHO_AM_I): st.tuples(st.lists(st.tuples(texts, texts), max_size=3).map(tuple)),
}
"""Fields of successful replies."""
