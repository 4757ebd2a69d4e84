"""A second, naive account of what writes do to a tree, to hold the real one against.

It was written from ZooKeeper's documented behaviour, not from coordserver.core, and does everything the slow and
obvious way: children are found by looking at every path, a multi works on a copy of the world, cversion is counted
up at each change. Results and errors are plain numbers and tuples.
"""

from __future__ import annotations

import copy
from typing import Any

Identities = tuple[tuple[str, str], ...]
Acl = tuple[tuple[int, str, str], ...]

OPEN: Acl = ((31, "world", "anyone"),)
CREATE, DELETE, SET_DATA, SET_ACL, CHECK, MULTI = 1, 2, 5, 7, 13, 14
CREATE_SESSION, CLOSE_SESSION, RESUME_SESSION, DELETE_CONTAINER = -10, -11, 1001, 20
CREATED, DELETED, CHANGED = 1, 2, 3
SYSTEM = ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config")


class Refused(Exception):
    """The operation says no, with ZooKeeper's code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Node:
    """All that is known of one znode."""

    def __init__(self, data: bytes | None, acl: Acl, zxid: int, wall: int, owner: int = 0, ttl: int = 0) -> None:
        self.data, self.acl, self.owner, self.ttl = data, acl, owner, ttl
        self.czxid = self.mzxid = self.pzxid = zxid
        self.ctime = self.mtime = wall
        self.version = self.cversion = self.aversion = self.creates = 0


class Twin:
    """The world: znodes by path, living sessions, the last zxid."""

    def __init__(self) -> None:
        self.nodes = {path: Node(b"", OPEN, 0, 0) for path in SYSTEM}
        self.nodes["/"].cversion, self.nodes["/zookeeper"].cversion = -1, -2  # children that nobody created
        self.nodes["/zookeeper/config"].acl = ((1, "world", "anyone"),)
        self.nodes["/zookeeper/config"].aversion = -1
        self.sessions: set[int] = set()
        self.zxid = 0

    # -- what is asked of it ----------------------------------------------------------------------------------------

    def children(self, path: str) -> list[str]:
        """Names of the children, sorted."""
        start = path if path == "/" else path + "/"
        below = [other[len(start) :] for other in self.nodes if other.startswith(start) and other != path]
        return sorted(name for name in below if "/" not in name)

    def stat(self, path: str) -> tuple[int, ...]:
        """ZooKeeper's Stat."""
        node = self.nodes[path]
        return (
            node.czxid,
            node.mzxid,
            node.ctime,
            node.mtime,
            node.version,
            node.cversion,
            node.aversion,
            node.owner,
            len(node.data or b""),
            len(self.children(path)),
            node.pzxid,
        )

    def run(
        self, op: int, session: int, wall: int, who: Identities, arguments: tuple[Any, ...], *, logged: bool = True
    ) -> tuple[int, tuple[Any, ...], list[tuple[int, str]]]:
        """(code, result, events) of one command. With `logged` it takes a zxid, refused or not, as in ZooKeeper."""
        if logged and op != RESUME_SESSION:
            self.zxid += 1
        before = self._copied()
        events: list[tuple[int, str]] = []
        try:
            if op in (CREATE, DELETE, SET_DATA, SET_ACL):
                self._form(op, arguments, who)
            if session and op != CREATE_SESSION and session not in self.sessions:
                raise Refused(-112)
            return 0, self._do(op, session, wall, who, arguments, events), events
        except Refused as refusal:
            self.nodes = before
            return refusal.code, (), []

    def _copied(self) -> dict[str, Node]:
        return {path: copy.copy(node) for path, node in self.nodes.items()}

    # -- how --------------------------------------------------------------------------------------------------------

    def _do(
        self, op: int, session: int, wall: int, who: Identities, arguments: tuple[Any, ...], events: list[Any]
    ) -> tuple[Any, ...]:
        if op == CREATE_SESSION:
            if session in self.sessions:
                raise Refused(-110)
            self.sessions.add(session)
            return ()
        if op == RESUME_SESSION:
            return ()
        if op == CLOSE_SESSION:
            for path in [path for path, node in self.nodes.items() if node.owner == session]:
                self._take_out(path, events)
            self.sessions.remove(session)
            return ()
        if op == DELETE_CONTAINER:
            return self._delete_container(wall, *arguments, events)
        if op == MULTI:
            return self._multi(session, wall, who, arguments[0], events)
        return self._one(op, session, wall, who, arguments, events)

    def _one(
        self, op: int, session: int, wall: int, who: Identities, arguments: tuple[Any, ...], events: list[Any]
    ) -> tuple[Any, ...]:
        self._form(op, arguments, who)
        if op == CREATE:
            return self._create(session, wall, who, *arguments, events)
        if op == DELETE:
            return self._delete(who, *arguments, events)
        node = self.nodes.get(arguments[0])
        if node is None:
            raise Refused(-101)
        self._may(node, {SET_DATA: 2, SET_ACL: 16, CHECK: 1}[op], who)
        expected = arguments[-1]
        if expected not in (-1, node.aversion if op == SET_ACL else node.version):
            raise Refused(-103)
        if op == CHECK:
            return ()
        if op == SET_ACL:
            node.acl = arguments[1] or OPEN
            node.aversion += 1
        else:
            node.data, node.mzxid, node.mtime = arguments[1], self.zxid, wall
            node.version += 1
            events.append((CHANGED, arguments[0]))
        return (self.stat(arguments[0]),)

    def _form(self, op: int, arguments: tuple[Any, ...], who: Identities) -> None:
        """What can be said of an operation without looking at the tree."""
        path = arguments[0]
        if op == CREATE:
            mode, ttl = arguments[3], arguments[4]
            if mode not in range(7):
                raise Refused(-8)
            if not 1 <= ttl < 2**40 if mode in (5, 6) else ttl > 0:
                raise Refused(-8)
        if op in (CREATE, DELETE) and ("/" not in path or "\0" in path):
            raise Refused(-8)
        if op == DELETE and path in SYSTEM:
            raise Refused(-8)
        if op in (SET_DATA, SET_ACL, CHECK) and not legal(path):
            raise Refused(-8)
        acl = arguments[2] if op == CREATE else arguments[1] if op == SET_ACL else None
        if acl is not None and (not acl or any(scheme == "nonsense" for _, scheme, _ in acl)):
            raise Refused(-114)

    def _may(self, node: Node, permission: int, who: Identities) -> None:
        for perms, scheme, name in node.acl:
            if perms & permission and ((scheme, name) == ("world", "anyone") or (scheme, name) in who):
                return
        raise Refused(-102)

    def _create(
        self,
        session: int,
        wall: int,
        who: Identities,
        path: str,
        data: bytes | None,
        acl: Acl | None,
        mode: int,
        ttl: int,
        events: list[Any],
    ) -> tuple[Any, ...]:
        above = parent_of(path)
        parent = self.nodes.get(above)
        if parent is None:
            raise Refused(-101)
        self._may(parent, 4, who)
        if mode in (2, 3, 6):
            path += str(parent.creates).zfill(10)
        if not legal(path):
            raise Refused(-8)
        if path in self.nodes:
            raise Refused(-110)
        if parent.owner:
            raise Refused(-108)
        life = -1 if mode == 4 else ttl if mode in (5, 6) else 0
        self.nodes[path] = Node(data, acl or OPEN, self.zxid, wall, session if mode in (1, 3) else 0, life)
        parent.creates += 1
        parent.cversion += 1
        parent.pzxid = self.zxid
        events.append((CREATED, path))
        return path, self.stat(path)

    def _delete(self, who: Identities, path: str, version: int, events: list[Any]) -> tuple[Any, ...]:
        parent = self.nodes.get(parent_of(path))
        if parent is None:
            raise Refused(-101)
        self._may(parent, 8, who)
        node = self.nodes.get(path)
        if node is None:
            raise Refused(-101)
        if version not in (-1, node.version):
            raise Refused(-103)
        if self.children(path):
            raise Refused(-111)
        self._take_out(path, events)
        return ()

    def _delete_container(self, wall: int, path: str, mzxid: int, events: list[Any]) -> tuple[Any, ...]:
        node = self.nodes.get(path)
        if node is None:
            raise Refused(-101)
        if self.children(path):
            raise Refused(-111)
        if node.ttl == 0 or node.mzxid != mzxid or (node.ttl > 0 and wall <= node.mtime + node.ttl):
            raise Refused(-103)
        self._take_out(path, events)
        return ()

    def _take_out(self, path: str, events: list[Any]) -> None:
        del self.nodes[path]
        parent = self.nodes[parent_of(path)]
        parent.cversion += 1
        parent.pzxid = self.zxid
        events.append((DELETED, path))

    def _multi(
        self, session: int, wall: int, who: Identities, operations: tuple[Any, ...], events: list[Any]
    ) -> tuple[Any, ...]:
        before = self._copied()
        results: list[tuple[Any, ...]] = []
        for at, (op, *arguments) in enumerate(operations):
            try:
                results.append((0, *self._one(op, session, wall, who, tuple(arguments), events)))
            except Refused as refusal:
                self.nodes = before
                events.clear()
                return (((0,),) * at + ((refusal.code,),) + ((-2,),) * (len(operations) - at - 1),)
        return (tuple(results),)


def parent_of(path: str) -> str:
    """All before the last slash; the root's children have the root."""
    return path[: path.rindex("/")] or "/"


def legal(path: str) -> bool:
    """PathUtils.validatePath."""
    if path == "/":
        return True
    parts = path.split("/")
    if parts[0] != "" or len(parts) < 2:
        return False
    return all(part not in ("", ".", "..") and not any(map(_forbidden, part)) for part in parts[1:])


def _forbidden(character: str) -> bool:
    code = ord(character)
    return code <= 0x1F or 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xF8FF or 0xFFF0 <= code <= 0xFFFF or code > 0xFFFF
