"""Run a history against one server and write down, in terms that do not depend on the server, what it answered.

zxids become distances from the history's first, times disappear, session ids become numbers in the order of connecting,
children are sorted: what is left must be equal, and each reply must come after as many events.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coordserver.core.model.operations import Op
from coordserver.core.model.stat import Stat
from differential.histories import History, Step
from differential.raw import Answer, RawClient

Observation = tuple[Any, ...]


class Runner:
    """One run of one history."""

    def __init__(self, port: int, history: History) -> None:
        self._port = port
        self._history = history
        self._clients: dict[int, RawClient] = {}
        self._sessions: dict[int, int] = {0: 0}
        self._passwords: dict[int, bytes] = {}
        self._base = 0
        self._last_zxid: dict[int, int] = {}

    def run(self) -> list[Observation]:
        """What was seen, step by step, and the tree at the end."""
        seen: list[Observation] = []
        try:
            for step in self._history.steps:
                seen.append((step, self._do(step), self._events()))
            seen.append(("tree", *self._tree()))
        finally:
            self._close_everything()
        return seen

    def _close_everything(self) -> None:
        """End every session: one that expired later would use a zxid in the middle of another history."""
        for client in self._clients.values():
            client.drop()
        for session_id, password in self._passwords.items():
            client = RawClient(self._port)
            response = client.connect(timeout_ms=4_000, session_id=session_id, password=password)
            if response is not None and response.timeout_ms:
                client.request(int(Op.CLOSE_SESSION), ())
            client.drop()

    def _do(self, step: Step) -> Any:
        if step.what == "connect":
            return self._connect(step.who, timeout_ms=step.arguments[0])
        client = self._clients[step.who]
        match step.what:
            case "request":
                op, arguments = step.arguments
                return self._answers(step.who, [client.request(op, arguments)], [op])
            case "pipeline":
                answers = client.pipeline(step.arguments)
                return self._answers(step.who, answers, [op for op, _ in step.arguments])
            case "auth":
                return self._answers(step.who, [client.auth(*step.arguments)], [int(Op.PING)])
            case "rewatch":
                since = {"0": 0, "base": self._base, "now": self._last_zxid.get(step.who, 0)}[step.arguments[0]]
                answer = client.request(int(Op.SET_WATCHES), (since, *step.arguments[1:]))
                return self._answers(step.who, [answer], [int(Op.SET_WATCHES)])
            case "close":
                answer = client.request(int(Op.CLOSE_SESSION), ())
                closed = client.closed()
                return self._answers(step.who, [answer], [int(Op.CLOSE_SESSION)]), closed
            case "raw":
                return self._headers(step.who, client.raw(step.arguments[0]))
            case "rearm":
                return self._rearm(step, client)
            case "drop":
                client.drop()
                return None
        return self._resume(step, client)

    def _rearm(self, step: Step, client: RawClient) -> Any:
        """What a client does that lost its connection: resume, then setWatches2."""
        client.drop()
        again = self._connect(step.who, timeout_ms=10_000, session_id=client.session_id, password=client.password)
        since = {"0": 0, "base": self._base, "now": self._last_zxid.get(step.who, 0)}[step.arguments[0]]
        answer = self._clients[step.who].request(int(Op.SET_WATCHES2), (since, *step.arguments[1:]))
        return again, self._answers(step.who, [answer], [int(Op.SET_WATCHES2)])

    def _headers(self, who: int, answers: Sequence[Answer]) -> list[Any]:
        """Of answers to who knows what: their headers."""
        return [(answer.xid, self._zxid(answer.zxid), answer.error, answer.heard) for answer in answers]

    def _resume(self, step: Step, client: RawClient) -> Any:
        """Connect again with the session of `client`, rightly or wrongly."""
        password = b"\x01" * 16 if step.what == "badpassword" else client.password
        last_zxid = 1 << 40 if step.what == "future" else 0
        if step.what != "resume":
            # A refused resume must not disturb what is tested: where the old connection ends is the server's choice.
            client.drop()
        return self._connect(
            step.who,
            timeout_ms=step.arguments[0],
            session_id=client.session_id,
            password=password,
            last_zxid=last_zxid,
        )

    def _connect(self, who: int, **options: Any) -> Any:
        old = self._clients.get(who)
        client = RawClient(self._port)
        response = client.connect(**options)
        if old is not None and old.open:
            old.drop()
        self._clients[who] = client
        if response is None:
            client.drop()
            return "closed"
        if not response.timeout_ms and old is not None:
            client.session_id, client.password = old.session_id, old.password
        if response.timeout_ms:
            self._passwords[response.session_id] = response.password
        number = self._sessions.setdefault(response.session_id, len(self._sessions))
        return response.timeout_ms, number, len(response.password), response.read_only

    def _answers(self, who: int, answers: Sequence[Answer], ops: Sequence[int]) -> list[Any]:
        told = []
        for answer, op in zip(answers, ops, strict=True):
            if self._base == 0 and op == Op.CREATE and answer.zxid > 0:
                self._base = answer.zxid
            if answer.zxid > 0:
                self._last_zxid[who] = answer.zxid
            result = self._result(op, answer.result)
            told.append((answer.xid, self._zxid(answer.zxid), answer.error, result, answer.heard))
        return told

    def _zxid(self, zxid: int) -> int | str:
        return zxid if zxid <= 0 else f"z{zxid - self._base}"

    def _result(self, op: int, result: tuple[Any, ...] | None) -> Any:
        if result is None:
            return None
        if op in (Op.GET_CHILDREN, Op.GET_CHILDREN2, Op.GET_EPHEMERALS):
            result = (tuple(sorted(result[0])), *result[1:])
        if op == Op.WHO_AM_I:
            return tuple(sorted(set(result[0])))
        return tuple(self._value(value) for value in result)

    def _value(self, value: Any) -> Any:
        if isinstance(value, Stat):
            return self._stat(value)
        if isinstance(value, tuple):
            # ZooKeeper 3.8 answers create2 in a multi as create, without the Stat; 3.9 and we as create2.
            if len(value) > 2 and value[0] == Op.CREATE2:
                value = (int(Op.CREATE), value[1], value[2])
            if len(value) > 2 and value[0] == Op.GET_CHILDREN and isinstance(value[2], tuple):
                value = (*value[:2], tuple(sorted(value[2])))
            return tuple(self._value(part) for part in value)
        return value

    def _stat(self, stat: Stat) -> tuple[Any, ...]:
        owner = self._sessions.get(stat.ephemeral_owner, "?")
        zxids = tuple(self._zxid(zxid) for zxid in (stat.czxid, stat.mzxid, stat.pzxid))
        if stat.czxid == 0:  # of ZooKeeper's own znodes, which other histories change too
            return ("system", stat.version)
        return (*zxids, stat.version, stat.cversion, stat.aversion, owner, stat.data_length, stat.num_children)

    def _events(self) -> list[Any]:
        """What each session was notified of, once a ping has shown that there is no more."""
        told = []
        for who, client in sorted(self._clients.items()):
            if client.open and client.session_id:
                client.request(int(Op.PING), ())
            # Zxids are compared where both tell them: 3.8 does not.
            told.append((who, [(kind, path) for _, kind, path in client.take_events()]))
        return [entry for entry in told if entry[1]]

    def _tree(self) -> list[Any]:
        """Every znode below the history's root, by a client of its own that may read everything."""
        client = RawClient(self._port)
        client.connect(timeout_ms=4_000)
        found: list[Any] = []
        pending = [f"/h{self._history.seed}"]
        if self._history.profile == "quota":
            pending.append(f"/zookeeper/quota/h{self._history.seed}")
        while pending:
            path = pending.pop()
            data = client.request(int(Op.GET_DATA), (path, False))
            acl = client.request(int(Op.GET_ACL), (path,))
            children = client.request(int(Op.GET_CHILDREN2), (path, False))
            found.append(
                (
                    path,
                    data.error,
                    self._result(int(Op.GET_DATA), data.result),
                    self._result(int(Op.GET_ACL), acl.result),
                    self._result(int(Op.GET_CHILDREN2), children.result),
                )
            )
            if children.result is not None:
                pending += [f"{path}/{name}" for name in sorted(children.result[0])]
        client.request(int(Op.CLOSE_SESSION), ())
        client.drop()
        return found
