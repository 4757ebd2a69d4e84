"""The transfer of a subtree to a running server in ordinary transactions.

Each transaction is atomic. The whole transfer is not, because a subtree may be larger than the largest transaction. A
transfer may be repeated: znodes that are equal already are not changed. Ephemerals are left out, because they belong to
sessions. Counters (versions, sequence numbers) are not transferred; those of the server continue. Null data becomes
empty data.
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
from coordserver.core.model import paths
from coordserver.core.state.quotas import PREFIX, STATS_NAME

BATCH_ZNODES = 200
BATCH_BYTES = 256 * 1024
_TRIES = 10
_CONFLICTS = (NodeExistsError, NoNodeError, BadVersionError)


@attrs.define
class Counts:
    """The numbers of znodes by what the transfer did with them. `ephemerals` were left out."""

    created: int = 0
    changed: int = 0
    same: int = 0
    ephemerals: int = 0
    deleted: int = 0


class TransferError(Exception):
    """A znode cannot be transferred. The text names it."""


async def transfer(
    client: Client,
    entries: Sequence[Entry],
    *,
    exact: bool = False,
    progress: Callable[[int], None] = lambda done: None,
) -> Counts:
    """Create or update the znodes of `entries`, which must have parents before children. Returns the counts.

    Missing ancestors are created with empty data. `exact` deletes the other znodes below the first entry. `progress`
    is called with the number of entries that were finished since its last call. Raises TransferError, CoordError.
    """
    counts = Counts()
    wanted = [entry for entry in entries if not entry.owner]
    counts.ephemerals = len(entries) - len(wanted)
    progress(counts.ephemerals)
    if wanted:
        await client.ensure_path(paths.parent_of(wanted[0].path))
    for batch in _split_batches(wanted):
        await _transfer_batch(client, batch, counts)
        progress(len(batch))
    if exact and wanted:
        await _delete_others(client, wanted[0].path, {entry.path for entry in entries}, counts)
    return counts


def _split_batches(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    batch: list[Entry] = []
    size = 0
    for entry in entries:
        length = len(entry.data or b"")
        # Transactions of this client cannot create containers and TTL znodes. Each of them gets a batch of its own, so
        # that the order of the entries is kept.
        single = _needs_single_create(entry) or (bool(batch) and _needs_single_create(batch[0]))
        if batch and (len(batch) == BATCH_ZNODES or size + length > BATCH_BYTES or single):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _needs_single_create(entry: Entry) -> bool:
    return entry.container or entry.ttl_ms > 0


async def _transfer_batch(client: Client, batch: list[Entry], counts: Counts) -> None:
    """Transfer one batch. Tries again if other clients change the same znodes at the same time."""
    for attempt in range(_TRIES):
        found = await client.read_many([entry.path for entry in batch])
        try:
            created, changed = await _write(client, batch, found)
        except _CONFLICTS as fault:
            conflict: KeeperError = fault
        except TransactionFailedError as failed:
            if not isinstance(failed.cause, _CONFLICTS):
                raise TransferError(str(failed.cause)) from None
            conflict = failed.cause
        else:
            changed |= await _update_acls(client, batch, found)
            counts.created += created
            counts.changed += len(changed)
            counts.same += len(batch) - created - len(changed)
            return
        if attempt == _TRIES - 1:
            raise TransferError(str(conflict))


async def _write(client: Client, batch: list[Entry], found: Sequence[Node | None]) -> tuple[int, set[str]]:
    """Create missing znodes and set different data in one transaction.

    `found` has the znode of each entry as it was read before, or None. Returns the number of created znodes and the
    paths of the changed ones.
    """
    transaction = client.transaction()
    created, changed = 0, set()
    for entry, node in zip(batch, found, strict=True):
        if node is None:
            created += 1
            await _create(client, transaction, entry)
        elif (entry.data or b"") != node.data and not _is_written_by_server(entry.path):
            changed.add(entry.path)
            transaction.set(entry.path, entry.data or b"", node.stat.version)
    if len(transaction):
        await transaction.commit()
    return created, changed


async def _create(client: Client, transaction: Transaction, entry: Entry) -> None:
    if _needs_single_create(entry):
        data, acl = entry.data or b"", entry.acl
        await client.create(entry.path, data, acl=acl, container=entry.container, ttl_ms=entry.ttl_ms)
    else:
        transaction.create(entry.path, entry.data or b"", acl=entry.acl)


async def _update_acls(client: Client, batch: list[Entry], found: Sequence[Node | None]) -> set[str]:
    """Set the ACLs of the znodes that existed before. Returns the paths whose ACL was different."""
    changed = set()
    for entry, node in zip(batch, found, strict=True):
        if node is not None and entry.path not in paths.SYSTEM_PATHS:
            acl, stat = await client.get_acl(entry.path)
            if tuple(acl) != tuple(entry.acl):
                await client.set_acl(entry.path, entry.acl, version=stat.aversion)
                changed.add(entry.path)
    return changed


def _is_written_by_server(path: str) -> bool:
    """Return whether the server itself writes the data of a znode: its configuration, or the count of a quota."""
    return path == paths.CONFIG or (path.startswith(PREFIX) and path.endswith(STATS_NAME))


async def _delete_others(client: Client, root: str, wanted: set[str], counts: Counts) -> None:
    """Delete the znodes at and below `root` that are not in `wanted`, children first.

    Ephemerals are kept, because they belong to sessions, and so are their ancestors.
    """
    found = [root]
    for path in found:
        try:
            found.extend(paths.join(path, name) for name in await client.children(path))
        except NoNodeError:
            continue
    for path in reversed(found):
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
