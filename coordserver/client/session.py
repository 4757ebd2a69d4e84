"""A session over whatever connections it takes.

    CONNECTING -> CONNECTED <-> SUSPENDED -> LOST -> CONNECTED (a new session) ...        any -> CLOSED

The session is looked for on each host in turn, for ever; only a server may say that it has ended. Then what was pending
fails (a read, or a write that never left, with SessionExpiredError; a write that was sent with OutcomeUnknownError),
and a new session is opened. On a resume the watches are armed again first, from where they were, and then the
unanswered requests are sent again with their old numbers, so that a write is done once however often it is sent. A
server that does not know writes by numbers (`Codec.resends_writes`) is not sent them again: they fail with
ConnectionLossError.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import trio

from coordserver.client.calls import Call, CallQueue, ping
from coordserver.client.codec import Codec, Ended, Events, Hello, Message, Reply, Welcome
from coordserver.client.errors import ClientClosedError
from coordserver.client.link import Link, LinkLostError
from coordserver.client.states import StateBoard
from coordserver.client.transport import Dial, Host, Transport
from coordserver.client.values import SessionState
from coordserver.client.watches import Watch, WatchHub, WatchSink
from coordserver.core.acl import ACL
from coordserver.core.errors import (
    BadArgumentsError,
    ConnectionLossError,
    CoordError,
    ErrorCode,
    OutcomeUnknownError,
    SessionExpiredError,
    TooLargeError,
    UnimplementedError,
    WireError,
    from_code,
)
from coordserver.core.operations import Op

log = logging.getLogger(__name__)

BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 2.0

_ATTEMPT_MIN_S = 0.5  # for one host: dialling and handshake together take a third of the session timeout, within these
_ATTEMPT_MAX_S = 5.0

_REMOVE_PERSISTENT = 4  # remove_watches, kind
_REMOVE_RECURSIVE = 5

_SESSION_OVER = (ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED)


class Session:
    """The state of one client's session. `run` does the work; the rest is called from other tasks."""

    def __init__(
        self,
        hosts: Sequence[Host],
        dial: Dial,
        new_codec: Callable[[], Codec],
        *,
        timeout_ms: int,
        name: str,
        rng: random.Random,
        auth: Sequence[tuple[str, bytes]] = (),
        default_acl: Sequence[ACL] | None = None,
    ) -> None:
        self.session_id = 0
        self.password = b""
        self.timeout_ms = timeout_ms
        self.number = 0
        self.board = StateBoard()
        self.watches = WatchHub()
        self.last_zxid = 0
        self.last_failure = "no server was tried yet"
        self.default_acl = default_acl
        self._auth = [(scheme, bytes(secret)) for scheme, secret in auth]
        self._over: CoordError = ClientClosedError("the client is closed")
        self._refused: CoordError | None = None
        self._wanted_timeout_ms = timeout_ms
        self._hosts = list(hosts)
        self._at = 0
        self._dial = dial
        self._new_codec = new_codec
        self._name = name
        self._rng = rng
        self._history_id: bytes | None = None
        self._frame_bytes = 0
        self._calls = CallQueue()
        self._link: Link | None = None
        self._failures = 0  # attempts since a request was last answered
        self._ended = 0
        self._running = False
        self._closing = False
        self._taken_up = False
        self._scope = trio.CancelScope()

    def take_up(self, session_id: int, password: bytes) -> None:
        """Begin with the session that a predecessor left, not with a new one; before `run`. If it has ended, so be it:
        the next one is new, as always.
        """
        self.session_id, self.password, self.number = session_id, password, 1
        self._taken_up = True

    # -- requests ---------------------------------------------------------------------------------------------------

    async def request(self, op: int, args: Sequence[Any], *, size: int = 0) -> Call:
        """Send one request and wait for its answer, however long and over however many connections that takes.

        Raises the KeeperError that the server answered, SessionExpiredError, OutcomeUnknownError or ClientClosedError.
        A cancelled caller leaves the request to itself: it may or may not take effect, and its reply is dropped.
        """
        call = await self.start(op, args, size=size)
        await call.wait()
        if call.error is not None:
            raise call.error
        return call

    async def start(self, op: int, args: Sequence[Any], *, size: int = 0, watch: Watch | None = None) -> Call:
        """Queue one request, waiting only for room; the caller waits on the Call itself."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.board.state is SessionState.CLOSED:
            raise self._over
        call = Call(op, args, size=size, watch=watch)
        if not self._calls.must_wait:
            self._calls.add(call)
        elif not await self._calls.wait_and_add(call):
            raise self._ended_error(call)
        self._send_some()
        return call

    def _ended_error(self, call: Call) -> CoordError:
        if self.board.state is SessionState.CLOSED:
            return self._over
        return SessionExpiredError(call.path, "the session ended while the request waited to be sent")

    def post(self, op: int, args: Sequence[Any]) -> None:
        """Queue a request whose answer nobody needs."""
        if self.board.state is not SessionState.CLOSED:
            self._calls.add(Call(op, args))
            self._send_some()

    def _send_some(self) -> None:
        """Put on the wire what the server's limit allows."""
        link = self._link
        if link is None:
            return
        at_once = self._calls.idle
        frames = []
        while (call := self._calls.next_to_send()) is not None:
            try:
                frame = link.codec.request(call.number, call.op, self._calls.acked, call.args)
            except (TypeError, ValueError, OverflowError) as error:
                self._calls.withdraw_last()
                call.settle(0, (), BadArgumentsError(call.path, str(error)))
                continue
            except LookupError:
                self._calls.withdraw_last()
                call.settle(0, (), UnimplementedError(call.path, "ZooKeeper's protocol does not have it"))
                continue
            if len(frame) > self._frame_bytes:
                self._calls.withdraw_last()
                call.settle(0, (), TooLargeError(call.path, f"{len(frame)} bytes, the limit is {self._frame_bytes}"))
                continue
            frames.append(frame)
        if frames:
            link.put(frames[0] if len(frames) == 1 else b"".join(frames), at_once=at_once)

    async def add_auth(self, scheme: str, auth: bytes) -> None:
        """Show credentials, now and at the beginning of every further connection. Raises AuthFailedError."""
        await self.request(Op.AUTH, (scheme, auth))
        self._auth.append((scheme, auth))

    def _ping(self) -> None:
        if self._link is not None:
            call = ping()
            self._calls.add_sent(call)
            self._link.put(self._link.codec.request(call.number, call.op, self._calls.acked, ()), at_once=True)

    # -- watches ----------------------------------------------------------------------------------------------------

    async def watch(self, sink: WatchSink, path: str, *, recursive: bool) -> Watch:
        """Arm a watch, and keep it armed. Whatever happens from the return on is told to `sink`."""
        watch = self.watches.join(sink, path, recursive, self.last_zxid)
        armed = False
        try:
            while not armed:
                try:
                    call = await self.start(Op.ADD_WATCH, (path, int(watch.mode), -1), watch=watch)
                    await call.wait()
                except SessionExpiredError:
                    continue  # nothing was promised yet: arm it in the next session
                if call.error is not None and not isinstance(call.error, SessionExpiredError):
                    raise call.error
                armed = call.error is None
        finally:
            if not armed:
                self.unwatch(sink, watch)
        return watch

    def unwatch(self, sink: WatchSink, watch: Watch) -> None:
        """Stop telling `sink`. The server forgets watches with their connection by itself."""
        if self.watches.leave(sink, watch) and self._link is not None:
            self.post(Op.REMOVE_WATCHES, (watch.path, _REMOVE_RECURSIVE if watch.recursive else _REMOVE_PERSISTENT))

    # -- what the server says ---------------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        if isinstance(message, Reply):
            self._on_reply(message)
        elif isinstance(message, Events):
            head = self._calls.head
            replaying = head.watch if head is not None and head.internal else None
            self.watches.dispatch(message.zxid, message.events, replaying)
            self.last_zxid = max(self.last_zxid, message.zxid)
        elif isinstance(message, Ended):
            self._ended = message.reason
            raise LinkLostError(f"the server ended the session here ({from_code(message.reason)})")
        else:
            raise WireError("a second welcome")

    def _on_reply(self, reply: Reply) -> None:
        call = self._calls.head
        if call is None or call.number != reply.number:
            raise WireError(f"reply {reply.number} where {call.number if call else 'none'} was due")
        if reply.error in _SESSION_OVER:
            self._failures += 1
            raise LinkLostError(f"the session has no standing on this connection ({reply.error})")
        self._calls.answered()
        self._failures = 0
        self.last_zxid = max(self.last_zxid, reply.zxid)
        error: CoordError | None = None
        result: tuple[Any, ...] = ()
        if reply.error:
            error = from_code(reply.error, call.path, reply.detail)
        else:
            assert self._link is not None
            try:
                result = self._link.codec.result(call.op, call.args, reply.fields)
            except WireError as fault:
                call.settle(reply.zxid, (), fault)
                raise
        if call.op == Op.AUTH and call.internal and error is not None:
            self._refused = error
            raise LinkLostError(f"the credentials were refused ({error})")
        if call.watch is not None:
            call.watch.on_armed(reply, bool(result and result[0]))
        call.settle(reply.zxid, result, error)
        if call.op == Op.CLOSE_SESSION:
            self.session_id = 0
            raise LinkLostError("closed")
        if self._calls.has_unsent:
            self._send_some()

    # -- connections ------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold a session until `stop`, or until `close` has ended it. `started` is called with the first one."""
        self._running = True
        try:
            with self._scope:
                while True:
                    link = await self._connect()
                    if link is None:
                        return
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    self._lost(await link.run(self._handle, self._ping))
                    if self._refused is not None:
                        log.error("this client is of no more use: %s", self._refused)
                        self._end(self._refused)
                        return
        finally:
            self._running = False

    def outlive(self) -> None:
        """Shield `run` from outside cancellation, so that who is being cancelled can still close the session; from now
        on `stop` must be called. Not before `run` has started for good: `nursery.start` waits for it until then."""
        self._scope.shield = True

    def stop(self) -> None:
        """End `run` at once; every waiting call fails with ClientClosedError."""
        self._scope.cancel(reason="the client is closed")
        self._link = None
        self._end(ClientClosedError("the client is closed"))

    def _end(self, why: CoordError) -> None:
        """Nothing more is asked or told; whoever waits gets `why`, and so does who asks later."""
        if self.board.state is not SessionState.CLOSED:
            self._over = why
        self.board.set(SessionState.CLOSED)
        for call in self._calls.session_lost():
            call.settle(0, (), self._over)
        for watch in self.watches:
            for sink in tuple(watch.sinks):
                sink.on_error(self._over)

    async def close(self) -> None:
        """End the session on the server; the caller gives the deadline."""
        self._closing = True
        if self.session_id and self._running:
            try:
                await self.request(Op.CLOSE_SESSION, ())
            except CoordError as error:
                log.debug("closing the session: %s", error)

    def _lost(self, why: str) -> None:
        link, self._link = self._link, None
        assert link is not None
        self.watches.connection_lost(self.last_zxid)
        for call in self._calls.connection_lost(resend_writes=link.codec.resends_writes):
            call.settle(0, (), ConnectionLossError(f"{Op(call.op).name.lower()} {call.path}: {why}"))
        if self._failures:  # welcomed, but never answered: another host may do better
            self._at = (self._at + 1) % len(self._hosts)
        if self._ended:
            reason, self._ended = self._ended, 0
            self._failures += 1
            if reason == ErrorCode.SESSION_EXPIRED:
                self._expire()
        if self.session_id:
            log.info("connection lost: %s", why)
            self.board.set(SessionState.SUSPENDED)

    def _expire(self) -> None:
        """The server said so: what was pending fails, and the next connection opens a new session."""
        log.warning("session 0x%x has ended", self.session_id)
        self.session_id, self.password = 0, b""
        held = self._calls.session_lost()
        self.watches.session_lost()
        self.board.set(SessionState.LOST)
        for call in held:
            if call.write and call.sent:
                name = Op(call.op).name.lower()
                call.settle(0, (), OutcomeUnknownError(f"{name} {call.path}: the session ended before the answer"))
            else:
                call.settle(0, (), SessionExpiredError(call.path))

    async def _connect(self) -> Link | None:
        """Try the hosts in turn until one has the session, or a new one. None once the session was closed."""
        while not (self._closing and not self.session_id):
            rounds = self._failures // len(self._hosts)
            if rounds:
                longest = min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2 ** min(rounds - 1, 10))
                await trio.sleep(longest * self._rng.uniform(0.5, 1))
            host = self._hosts[self._at]
            try:
                with trio.fail_after(max(_ATTEMPT_MIN_S, min(_ATTEMPT_MAX_S, self.timeout_ms / 3000))):
                    return await self._attempt(host)
            except _ExpiredError:
                self._failures = 0  # a server that says so serves: no reason to wait for the new session
                self._expire()
            except trio.TooSlowError:
                self._failed(host, "no answer")
            except (OSError, WireError, LinkLostError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._failed(host, str(error) or type(error).__name__)
        return None

    def _failed(self, host: Host, why: str) -> None:
        self.last_failure = f"{host}: {why}"
        log.log(
            logging.INFO if self._failures < len(self._hosts) else logging.DEBUG, "no session at %s", self.last_failure
        )
        self._failures += 1
        self._at = (self._at + 1) % len(self._hosts)

    async def _attempt(self, host: Host) -> Link:
        transport = await self._dial(host)
        attached = False
        try:
            codec = self._new_codec()
            hello = Hello(
                self.session_id, self.password, self._wanted_timeout_ms, self.last_zxid, self._history_id, self._name
            )
            await transport.send_all(codec.hello(hello))
            messages: list[Message] = []
            while not messages:
                data = await transport.receive()
                if not data:
                    raise LinkLostError("the server closed the connection in the handshake")
                messages = codec.receive(data)
            if len(messages) > 1 or not isinstance(messages[0], Welcome):
                raise WireError("the server did not begin with its welcome")
            link = self._attach(transport, codec, messages[0])
            attached = True
            return link
        finally:
            if not attached:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await transport.close()

    def _attach(self, transport: Transport, codec: Codec, welcome: Welcome) -> Link:
        """Take the session that the server gives: watches first, then what is unanswered."""
        if welcome.error:
            if welcome.error == ErrorCode.SESSION_EXPIRED and self.session_id:
                raise _ExpiredError
            raise LinkLostError(f"refused: {from_code(welcome.error)}")
        if welcome.history_id != self._history_id:
            self._history_id = welcome.history_id
            self.last_zxid = 0
        if welcome.session_id != self.session_id:
            self.number += 1
        elif self._taken_up:
            self._calls.continue_after(welcome.last_number)
        self._taken_up = False
        self.session_id, self.password = welcome.session_id, welcome.password
        self.timeout_ms = welcome.timeout_ms
        self._frame_bytes = welcome.frame_bytes
        self._calls.outstanding = max(1, welcome.outstanding)
        # Credentials first: what a watch may show is judged by them.
        self._calls.push_first(
            [
                *(Call(Op.AUTH, auth, internal=True) for auth in self._auth),
                *(
                    Call(Op.ADD_WATCH, (watch.path, int(watch.mode), watch.since), watch=watch, internal=True)
                    for watch in self.watches.to_arm()
                ),
            ]
        )
        self._failures += 1  # until something is answered: a server that only welcomes is not hammered
        self._link = link = Link(transport, codec, self.timeout_ms / 1000)
        self.board.set(SessionState.CONNECTED)
        self._send_some()
        return link


class _ExpiredError(Exception):
    """The server does not know the session any more."""
