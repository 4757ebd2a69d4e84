"""Requests that one server answers alone: reads with their watches, and those about the connection itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from coordserver.core.model import errors
from coordserver.core.model.access import user_of
from coordserver.core.model.limits import EngineLimits
from coordserver.core.model.operations import EventKind, Op, WatchMode
from coordserver.core.model.paths import ROOT
from coordserver.core.serving.pipeline import Attachment
from coordserver.core.serving.watches import WatchManager, missed
from coordserver.core.state import reads
from coordserver.core.state.machine import Machine

_CREATED = int(EventKind.CREATED)
_DELETED = int(EventKind.DELETED)
_DATA_CHANGED = int(EventKind.DATA_CHANGED)
_CHILDREN_CHANGED = int(EventKind.CHILDREN_CHANGED)
_NOTICE_BYTES = 16
"""What an event takes besides its path, about."""

Answer = Callable[[Attachment, Sequence[Any]], tuple[Any, ...]]


class Answers:
    """By operation, in `by_op`: (attachment, checked arguments) -> result fields, or a KeeperError."""

    def __init__(self, machine: Machine, watches: WatchManager[Attachment], limits: EngineLimits) -> None:
        self._machine = machine
        self._tree = machine.tree
        self._watches = watches
        self._limits = limits
        self._limit = limits.watches_per_session
        self._children = limits.children_per_reply
        self.by_op: dict[int, Answer] = {
            int(Op.GET_DATA): self._get_data,
            int(Op.EXISTS): self._exists,
            int(Op.GET_CHILDREN): self._get_children2,
            int(Op.GET_CHILDREN2): self._get_children2,
            int(Op.SET_WATCHES): self._set_watches,
            int(Op.SET_WATCHES2): self._set_watches,
            int(Op.MULTI_READ): self._multi_read,
            int(Op.GET_ACL): lambda attachment, args: reads.get_acl(self._tree, args, attachment.identities),
            int(Op.GET_ALL_CHILDREN_NUMBER): self._get_all_children_number,
            int(Op.GET_EPHEMERALS): self._get_ephemerals,
            int(Op.SYNC): lambda attachment, args: (args[0],),
            int(Op.PING): lambda attachment, args: (),
            int(Op.ADD_WATCH): self._add_watch,
            int(Op.REMOVE_WATCHES): self._remove_watches,
            int(Op.CHECK_WATCHES): self._check_watches,
            int(Op.WHO_AM_I): self._who_am_i,
        }

    def _check_limit(self, attachment: Attachment) -> int:
        """How many more watches there may be. Raises LimitExceededError where that is none."""
        left = self._limit - self._watches.held_by(attachment)
        if left <= 0:
            raise errors.LimitExceededError("", f"watches: at most {self._limit} per session")
        return left

    def _get_data(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        result = reads.get_data(self._tree, arguments, attachment.identities)
        if arguments[1]:
            self._check_limit(attachment)
            self._watches.watch_data(arguments[0], attachment)
        return result

    def _exists(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """A znode that is not there is watched too; one that may not be read is not."""
        watch = arguments[1]
        if watch:
            self._check_limit(attachment)
        try:
            result = reads.exists(self._tree, arguments, attachment.identities)
        except errors.NoNodeError:
            if watch:
                self._watches.watch_data(arguments[0], attachment)
            raise
        if watch:
            self._watches.watch_data(arguments[0], attachment)
        return result

    def _get_children2(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        node = self._tree.nodes.get(arguments[0] or ROOT)
        if node is not None and node.children and len(node.children) > self._children:
            raise errors.LimitExceededError(arguments[0], f"children: at most {self._children} in a reply")
        result = reads.get_children2(self._tree, arguments, attachment.identities)
        if arguments[1]:
            self._check_limit(attachment)
            self._watches.watch_children(arguments[0], attachment)
        return result

    def _get_all_children_number(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        return reads.get_all_children_number(self._tree, arguments, attachment.identities)

    def _get_ephemerals(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        return reads.get_ephemerals(self._tree, arguments, attachment.session_id)

    def _add_watch(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[bool]:
        """(path, mode, since_zxid) -> (resumed,). What was missed is told before the answer is.

        A since_zxid of another history, or below the ring's floor, cannot be resumed, nor one since which more was
        missed than the connection's output takes: the watch is armed all the same.
        """
        path, mode, since = arguments[0], arguments[1], arguments[2]
        self._check_limit(attachment)
        self._watches.add(path, mode, attachment)
        if since < 0 or since > self._machine.zxid or not attachment.history_known:
            return (False,)
        entries = self._machine.ring.about(since, path, below=mode == WatchMode.PERSISTENT_RECURSIVE)
        if entries is None:
            return (False,)
        told = [(zxid, missed(events, path, mode, attachment.identities)) for zxid, events in entries]
        # a character has up to four bytes
        if 4 * sum(_NOTICE_BYTES + len(name) for _, notices in told for _, name in notices) > self._limits.reply_bytes:
            return (False,)
        for zxid, notices in told:
            if notices:
                attachment.sink.events(zxid, notices)
        return (True,)

    def _set_watches(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[()]:
        """Arm again what a client watched before it reconnected; tell at once what changed since (DataTree.setWatches).

        Nobody knows any more which zxid it was, so these events carry -1. No right is asked.
        """
        since, data, exist, child, persistent, recursive = arguments[:6]
        nodes, told, watches = self._tree.nodes, attachment.sink.events, self._watches
        for path in self._within_limit(attachment, data):
            node = nodes.get(path or ROOT)
            if node is not None and node.mzxid <= since:
                watches.watch_data(path, attachment)
            else:
                told(-1, ((_DELETED if node is None else _DATA_CHANGED, path),))
        for path in self._within_limit(attachment, exist):
            if (path or ROOT) in nodes:
                told(-1, ((_CREATED, path),))
            else:
                watches.watch_data(path, attachment)
        for path in self._within_limit(attachment, child):
            node = nodes.get(path or ROOT)
            if node is not None and node.pzxid <= since:
                watches.watch_children(path, attachment)
            else:
                told(-1, ((_DELETED if node is None else _CHILDREN_CHANGED, path),))
        for mode, paths in ((WatchMode.PERSISTENT, persistent), (WatchMode.PERSISTENT_RECURSIVE, recursive)):
            for path in self._within_limit(attachment, paths):
                watches.add(path, mode, attachment)
        return ()

    def _within_limit(self, attachment: Attachment, paths: Sequence[str]) -> Iterator[str]:
        """Paths, each of which may become a watch before the next is taken. Raises LimitExceededError."""
        left = 0
        for path in paths:
            if left <= 0:
                left = self._check_limit(attachment)
            left -= 1
            yield path

    def _multi_read(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[tuple[tuple[Any, ...], ...]]:
        """(((op, path, ...), ...),) -> (((op, error, fields...), ...),): each on its own, without watches; together
        within the limits of one reply.
        """
        operations = arguments[0]
        if len(operations) > self._limits.multi_operations:
            most = self._limits.multi_operations
            raise errors.LimitExceededError("", f"multiRead: {len(operations)} operations, at most {most}")
        results: list[tuple[Any, ...]] = []
        read = {int(Op.GET_DATA): 0, int(Op.GET_CHILDREN): 0}
        for op, path, *_ in operations:
            try:
                fields = reads.READS[op](self._tree, (path,), attachment.identities)
            except errors.KeeperError as refusal:
                results.append((op, int(refusal.code)))
                continue
            results.append((op, 0, *fields))
            read[op] += len(fields[0] or ())
            if read[Op.GET_CHILDREN] > self._children:
                raise errors.LimitExceededError(path, f"children: at most {self._children} in a reply")
            if read[Op.GET_DATA] > self._limits.reply_bytes:
                raise errors.LimitExceededError(path, f"multiRead: at most {self._limits.reply_bytes} bytes of data")
        return (tuple(results),)

    def _remove_watches(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[()]:
        if not self._watches.remove(arguments[0], arguments[1], attachment):
            raise errors.NoWatcherError(arguments[0])
        return ()

    def _check_watches(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[()]:
        if not self._watches.has(arguments[0], arguments[1], attachment):
            raise errors.NoWatcherError(arguments[0])
        return ()

    def _who_am_i(self, attachment: Attachment, arguments: Sequence[Any]) -> tuple[Any, ...]:
        return (tuple((identity[0], user_of(identity)) for identity in attachment.identities),)
