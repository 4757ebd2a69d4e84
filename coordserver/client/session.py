"""A client session, which continues over many connections.

    CONNECTING -> CONNECTED <-> SUSPENDED -> LOST -> CONNECTED (a new session) ...        any -> CLOSED

After a lost connection the client tries the hosts in turn, without a limit, until one of them resumes the session. Only
a server can report that the session has ended. The client then fails the pending requests and opens a new session. A
pending read, or a write that was never sent, fails with SessionExpiredError; a sent write fails with
OutcomeUnknownError.

When a session is resumed, the client first arms the watches again from their last zxid. Then it sends the unanswered
requests again with their old numbers, so that the server executes a write only once even if it receives it twice. If
the server does not recognise repeated writes (`Codec.resends_writes`), the client does not send them again, and they
fail with ConnectionLossError.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

import trio

from coordserver.client.calls import Call, CallQueue, make_ping
from coordserver.client.codec import Codec, Ended, Events, Hello, Message, Reply, Welcome
from coordserver.client.errors import ClientClosedError
from coordserver.client.link import Link, LinkLostError
from coordserver.client.states import StateBoard
from coordserver.client.transport import Dial, Host, Transport
from coordserver.client.values import SessionState
from coordserver.client.watches import Watch, WatchHub, WatchSink
from coordserver.core.model.acl import ACL
from coordserver.core.model.errors import (
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
from coordserver.core.model.operations import Op

log = logging.getLogger(__name__)

BACK_OFF_MIN_S = 0.05
BACK_OFF_MAX_S = 2.0

# The time limit for connection and handshake with one host is a third of the session timeout, within these bounds.
_ATTEMPT_MIN_S = 0.5
_ATTEMPT_MAX_S = 5.0

_REMOVE_PERSISTENT = 4  # the watcher kinds of remove_watches
_REMOVE_RECURSIVE = 5

_SESSION_OVER = (ErrorCode.SESSION_EXPIRED, ErrorCode.SESSION_MOVED)


class Session:
    """The session of one client. One task calls `run`, which holds the connections; other tasks call the rest."""

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
        self._close_reason: CoordError = ClientClosedError("the client is closed")
        self._auth_error: CoordError | None = None
        self._requested_timeout_ms = timeout_ms
        self._hosts = list(hosts)
        self._host_index = 0
        self._dial = dial
        self._new_codec = new_codec
        self._name = name
        self._rng = rng
        self._history_id: bytes | None = None
        self._frame_bytes = 0
        self._calls = CallQueue()
        self._link: Link | None = None
        self._failures = 0  # attempts since the last reply
        self._end_reason = 0  # the reason of the server's last Ended message, 0 if there was none
        self._running = False
        self._closing = False
        self._resuming = False
        self._scope = trio.CancelScope()

    def resume(self, session_id: int, password: bytes) -> None:
        """Resume the session of an earlier process, or open a new one if it has ended. Call it before `run`."""
        self.session_id, self.password, self.number = session_id, password, 1
        self._resuming = True

    # -- requests ---------------------------------------------------------------------------------------------------

    async def request(self, op: int, args: Sequence[Any], *, size: int = 0) -> Call:
        """Send a request and wait for its reply, without a time limit and over any number of connections.

        `size` is the number of data bytes, which count towards the limit of the queue. Raises the KeeperError of the
        reply, SessionExpiredError, OutcomeUnknownError, ConnectionLossError or ClientClosedError. If the caller is
        cancelled, the request may or may not take effect, and its reply is discarded.
        """
        call = await self.start(op, args, size=size)
        await call.wait()
        if call.error is not None:
            raise call.error
        return call

    async def start(self, op: int, args: Sequence[Any], *, size: int = 0, watch: Watch | None = None) -> Call:
        """Queue a request, waiting only while the queue is full. The caller waits for the reply with `Call.wait`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self.board.state is SessionState.CLOSED:
            raise self._close_reason
        call = Call(op, args, size=size, watch=watch)
        if not self._calls.must_wait:
            self._calls.add(call)
        elif not await self._calls.wait_and_add(call):
            raise self._make_unsent_error(call)
        self._send_queued()
        return call

    def _make_unsent_error(self, call: Call) -> CoordError:
        """Return the error of a call whose session ended while it waited for the queue."""
        if self.board.state is SessionState.CLOSED:
            return self._close_reason
        return SessionExpiredError(call.path, "the session ended while the request waited to be sent")

    def post(self, op: int, args: Sequence[Any]) -> None:
        """Queue a request and ignore its reply."""
        if self.board.state is not SessionState.CLOSED:
            self._calls.add(Call(op, args))
            self._send_queued()

    def _send_queued(self) -> None:
        """Send as many queued requests as the server's limit allows. A request that cannot be encoded fails."""
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
        """Authenticate now, and at the beginning of every later connection. Raises AuthFailedError."""
        await self.request(Op.AUTH, (scheme, auth))
        self._auth.append((scheme, auth))

    def _ping(self) -> None:
        if self._link is not None:
            call = make_ping()
            self._calls.add_sent(call)
            self._link.put(self._link.codec.request(call.number, call.op, self._calls.acked, ()), at_once=True)

    # -- watches ----------------------------------------------------------------------------------------------------

    async def watch(self, sink: WatchSink, path: str, *, recursive: bool) -> Watch:
        """Arm a watch and keep it armed over reconnects. `sink` receives all events after the return."""
        watch = self.watches.add_sink(sink, path, recursive, self.last_zxid)
        armed = False
        try:
            while not armed:
                try:
                    call = await self.start(Op.ADD_WATCH, (path, int(watch.mode), -1), watch=watch)
                    await call.wait()
                except SessionExpiredError:
                    continue  # arm it in the next session; no event before the return is promised
                if call.error is not None and not isinstance(call.error, SessionExpiredError):
                    raise call.error
                armed = call.error is None
        finally:
            if not armed:
                self.unwatch(sink, watch)
        return watch

    def unwatch(self, sink: WatchSink, watch: Watch) -> None:
        """Stop delivering events to `sink`."""
        # Without a connection no request is needed, because a server drops the watches of a lost connection.
        if self.watches.remove_sink(sink, watch) and self._link is not None:
            self.post(Op.REMOVE_WATCHES, (watch.path, _REMOVE_RECURSIVE if watch.recursive else _REMOVE_PERSISTENT))

    # -- messages from the server -----------------------------------------------------------------------------------

    def _handle(self, message: Message) -> None:
        if isinstance(message, Reply):
            self._on_reply(message)
        elif isinstance(message, Events):
            head = self._calls.head
            replaying = head.watch if head is not None and head.internal else None
            self.watches.dispatch(message.zxid, message.events, replaying)
            self.last_zxid = max(self.last_zxid, message.zxid)
        elif isinstance(message, Ended):
            self._end_reason = message.reason
            raise LinkLostError(f"the server ended the session here ({from_code(message.reason)})")
        else:
            raise WireError("a second welcome")

    def _on_reply(self, reply: Reply) -> None:
        call = self._calls.head
        if call is None or call.number != reply.number:
            raise WireError(f"received reply {reply.number}, expected {call.number if call else 'none'}")
        if reply.error in _SESSION_OVER:
            self._failures += 1
            raise LinkLostError(f"the session is not valid on this connection ({reply.error})")
        self._calls.pop_answered()
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
            self._auth_error = error
            raise LinkLostError(f"the credentials were refused ({error})")
        if call.watch is not None:
            call.watch.on_armed(reply, bool(result and result[0]))
        call.settle(reply.zxid, result, error)
        if call.op == Op.CLOSE_SESSION:
            self.session_id = 0
            raise LinkLostError("closed")
        if self._calls.has_unsent:
            self._send_queued()

    # -- connections ------------------------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold a session until `stop` is called or `close` has ended it. `started` is called at the first session."""
        self._running = True
        try:
            with self._scope:
                while True:
                    link = await self._connect()
                    if link is None:
                        return
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    self._on_link_lost(await link.run(self._handle, self._ping))
                    if self._auth_error is not None:
                        log.error("the client is closed because authentication failed: %s", self._auth_error)
                        self._fail_all(self._auth_error)
                        return
        finally:
            self._running = False

    def shield(self) -> None:
        """Shield `run` from outside cancellation, so that a cancelled owner can still close the session.

        The owner must call `stop` afterwards. Call it after `run` has started, because `nursery.start` would wait for a
        shielded `run` even if it is cancelled.
        """
        self._scope.shield = True

    def stop(self) -> None:
        """End `run` immediately. Every pending call fails with ClientClosedError."""
        self._scope.cancel(reason="the client is closed")
        self._link = None
        self._fail_all(ClientClosedError("the client is closed"))

    def _fail_all(self, error: CoordError) -> None:
        """Enter CLOSED, and raise `error` in all pending and later calls and watches."""
        if self.board.state is not SessionState.CLOSED:
            self._close_reason = error
        self.board.set(SessionState.CLOSED)
        for call in self._calls.session_lost():
            call.settle(0, (), self._close_reason)
        for watch in self.watches:
            for sink in tuple(watch.sinks):
                sink.on_error(self._close_reason)

    async def close(self) -> None:
        """Close the session on the server and wait for the reply. The caller sets the deadline."""
        self._closing = True
        if self.session_id and self._running:
            try:
                await self.request(Op.CLOSE_SESSION, ())
            except CoordError as error:
                log.debug("closing the session: %s", error)

    def _on_link_lost(self, reason: str) -> None:
        link, self._link = self._link, None
        assert link is not None
        self.watches.connection_lost(self.last_zxid)
        for call in self._calls.connection_lost(resend_writes=link.codec.resends_writes):
            call.settle(0, (), ConnectionLossError(f"{Op(call.op).name.lower()} {call.path}: {reason}"))
        if self._failures:  # the host accepted the session but answered no request, so try the next host
            self._host_index = (self._host_index + 1) % len(self._hosts)
        if self._end_reason:
            code, self._end_reason = self._end_reason, 0
            self._failures += 1
            if code == ErrorCode.SESSION_EXPIRED:
                self._expire()
        if self.session_id:
            log.info("connection lost: %s", reason)
            self.board.set(SessionState.SUSPENDED)

    def _expire(self) -> None:
        """Fail the pending calls after the server reported the end of the session. The next session is a new one."""
        log.warning("session 0x%x has ended", self.session_id)
        self.session_id, self.password = 0, b""
        pending = self._calls.session_lost()
        self.watches.session_lost()
        self.board.set(SessionState.LOST)
        for call in pending:
            if call.write and call.sent:
                name = Op(call.op).name.lower()
                call.settle(0, (), OutcomeUnknownError(f"{name} {call.path}: the session ended before the answer"))
            else:
                call.settle(0, (), SessionExpiredError(call.path))

    async def _connect(self) -> Link | None:
        """Try the hosts in turn until one of them resumes the session or opens a new one.

        Returns None once `close` has ended the session.
        """
        while not (self._closing and not self.session_id):
            rounds = self._failures // len(self._hosts)
            if rounds:
                longest = min(BACK_OFF_MAX_S, BACK_OFF_MIN_S * 2 ** min(rounds - 1, 10))
                await trio.sleep(longest * self._rng.uniform(0.5, 1))
            host = self._hosts[self._host_index]
            try:
                with trio.fail_after(max(_ATTEMPT_MIN_S, min(_ATTEMPT_MAX_S, self.timeout_ms / 3000))):
                    return await self._open_link(host)
            except _ExpiredError:
                self._failures = 0  # this server is working, so ask it for a new session without a delay
                self._expire()
            except trio.TooSlowError:
                self._on_failed_attempt(host, "no answer")
            except (OSError, WireError, LinkLostError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._on_failed_attempt(host, str(error) or type(error).__name__)
        return None

    def _on_failed_attempt(self, host: Host, reason: str) -> None:
        self.last_failure = f"{host}: {reason}"
        log.log(
            logging.INFO if self._failures < len(self._hosts) else logging.DEBUG, "no session at %s", self.last_failure
        )
        self._failures += 1
        self._host_index = (self._host_index + 1) % len(self._hosts)

    async def _open_link(self, host: Host) -> Link:
        transport = await self._dial(host)
        attached = False
        try:
            codec = self._new_codec()
            hello = Hello(
                self.session_id, self.password, self._requested_timeout_ms, self.last_zxid, self._history_id, self._name
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
        """Begin to use the session that the server gives.

        Credentials are sent first, because a server checks watches against them. Then the watches, then the requests.
        """
        if welcome.error:
            if welcome.error == ErrorCode.SESSION_EXPIRED and self.session_id:
                raise _ExpiredError
            raise LinkLostError(f"refused: {from_code(welcome.error)}")
        if welcome.history_id != self._history_id:
            self._history_id = welcome.history_id
            self.last_zxid = 0
        if welcome.session_id != self.session_id:
            self.number += 1
        elif self._resuming:
            self._calls.continue_after(welcome.last_number)
        self._resuming = False
        self.session_id, self.password = welcome.session_id, welcome.password
        self.timeout_ms = welcome.timeout_ms
        self._frame_bytes = welcome.frame_bytes
        self._calls.outstanding = max(1, welcome.outstanding)
        # Credentials come before watches, because a server checks each watch against them.
        self._calls.push_first(
            [
                *(Call(Op.AUTH, auth, internal=True) for auth in self._auth),
                *(
                    Call(Op.ADD_WATCH, (watch.path, int(watch.mode), watch.since), watch=watch, internal=True)
                    for watch in self.watches.list_unarmed()
                ),
            ]
        )
        self._failures += 1  # until the first reply: delays reconnects if a server accepts sessions but never replies
        self._link = link = Link(transport, codec, self.timeout_ms / 1000)
        self.board.set(SessionState.CONNECTED)
        self._send_queued()
        return link


class _ExpiredError(Exception):
    """The server reported that the session has ended."""
