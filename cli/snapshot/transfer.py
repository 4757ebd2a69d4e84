"""A subtree into a running server, by ordinary transactions.

Each transaction is all or nothing; the whole is not, for a subtree may be larger than any transaction. It may be run
again: what is as it should be is left alone. Ephemerals are left out, for they belong to sessions; counters (versions,
sequence numbers) are the server's own and go on from where they are. Null data becomes empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import attrs

from cli.snapshot.entries import Entry
from coordserver.client import (
    BadVersionError,
    Client,
    KeeperError,
    Node,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    Transaction,
    TransactionFailedError,
)
from coordserver.core import paths
from coordserver.core.quotas import PREFIX, STATS_NAME

BATCH_ZNODES = 200
BATCH_BYTES = 256 * 1024
_TRIES = 10
_MOVED = (NodeExistsError, NoNodeError, BadVersionError)


@attrs.define
class Counts:
    """What was done so far."""

    created: int = 0
    changed: int = 0
    same: int = 0
    ephemerals: int = 0
    deleted: int = 0


class TransferError(Exception):
    """A znode cannot be brought over; the text names it."""


async def transfer(
    client: Client,
    entries: Sequence[Entry],
    *,
    exact: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Counts:
    """Make the znodes of `entries`, parents first, be there as they are. `exact`: delete what else is below the first.

    Ancestors that are missing are created empty. Raises TransferError, CoordError.
    """
    counts = Counts()
    wanted = [entry for entry in entries if not entry.owner]
    counts.ephemerals = len(entries) - len(wanted)
    progress(counts.ephemerals)
    if wanted:
        await client.ensure_path(paths.parent_of(wanted[0].path))
    for batch in _batches(wanted):
        await _bring(client, batch, counts)
        progress(len(batch))
    if exact and wanted:
        await _delete_others(client, wanted[0].path, {entry.path for entry in entries}, counts)
    return counts


def _batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.data or b"")
        # What is no plain znode cannot be part of a transaction of this client: it goes alone, in its place.
        if batch and (
            len(batch) == BATCH_ZNODES or size + length > BATCH_BYTES or _special(entry) or _special(batch[0])
        ):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _special(entry: Entry) -> bool:
    return entry.container or entry.ttl_ms > 0


async def _bring(client: Client, batch: list[Entry], counts: Counts) -> None:
    """One batch; tried again when others changed the same znodes meanwhile."""
    for attempt in range(_TRIES):
        found = await client.read_many([entry.path for entry in batch])
        try:
            created, changed = await _write(client, batch, found)
        except _MOVED as fault:
            moved: KeeperError = fault
        except TransactionFailedError as failed:
            if not isinstance(failed.cause, _MOVED):
                raise TransferError(str(failed.cause)) from None
            moved = failed.cause
        else:
            changed |= await _settle_acls(client, batch, found)
            counts.created += created
            counts.changed += len(changed)
            counts.same += len(batch) - created - len(changed)
            return
        if attempt == _TRIES - 1:
            raise TransferError(str(moved))


async def _write(client: Client, batch: list[Entry], found: Sequence[Node | None]) -> tuple[int, set[str]]:
    """Create what is missing and set the data that differs, in one transaction; how many, and which were changed."""
    transaction = client.transaction()
    created, changed = 0, set()
    for entry, node in zip(batch, found, strict=True):
        if node is None:
            created += 1
            await _create(client, transaction, entry)
        elif (entry.data or b"") != node.data and not _kept_by_server(entry.path):
            changed.add(entry.path)
            transaction.set(entry.path, entry.data or b"", node.stat.version)
    if len(transaction):
        await transaction.commit()
    return created, changed


async def _create(client: Client, transaction: Transaction, entry: Entry) -> None:
    if _special(entry):
        data, acl = entry.data or b"", entry.acl
        await client.create(entry.path, data, acl=acl, container=entry.container, ttl_ms=entry.ttl_ms)
    else:
        transaction.create(entry.path, entry.data or b"", acl=entry.acl)


async def _settle_acls(client: Client, batch: list[Entry], found: Sequence[Node | None]) -> set[str]:
    """The ACLs of what was there before; the paths whose ACL was another."""
    changed = set()
    for entry, node in zip(batch, found, strict=True):
        if node is not None and entry.path not in paths.SYSTEM_PATHS:
            acl, stat = await client.get_acl(entry.path)
            if tuple(acl) != tuple(entry.acl):
                await client.set_acl(entry.path, entry.acl, version=stat.aversion)
                changed.add(entry.path)
    return changed


def _kept_by_server(path: str) -> bool:
    """Its data is what the server counts or says."""
    return path == paths.CONFIG or (path.startswith(PREFIX) and path.endswith(STATS_NAME))


async def _delete_others(client: Client, root: str, wanted: set[str], counts: Counts) -> None:
    """Children first; ephemerals stay with their sessions, and what is above one stays too."""
    below = [root]
    for path in below:
        try:
            below.extend(paths.join(path, name) for name in await client.children(path))
        except NoNodeError:
            continue
    for path in reversed(below):
        if path in wanted or path in paths.SYSTEM_PATHS:
            continue
        stat = await client.exists(path)
        if stat is None or stat.ephemeral_owner:
            continue
        try:
            await client.delete(path, missing_ok=True)
            counts.deleted += 1
        except NotEmptyError:
            continue
