"""How a leading role begins a term in the metadata store, and why it may refuse to.

A leader that finds an empty store beside a tree that knows of data would have every Historical drop what it holds, and
every Broker answer from nothing. Such a store is a mistake nearly always (the file was removed, the path is wrong, a
database was made anew), so nobody leads on it until the operator says that it is meant.
"""

from __future__ import annotations

import logging

from coordserver.client import Client, NoNodeError
from druidroles.coordination.inventory import read_batch
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import loads
from druidroles.metadata import LeaderEpoch, MetadataError, MetadataStore
from druidroles.model.decode import ModelError, as_object

log = logging.getLogger(__name__)


class EmptyStoreError(MetadataError):
    """The metadata store is empty although the tree knows of data: the term does not begin."""


async def begin_term(
    zk: Client, paths: DruidPaths, store: MetadataStore, leader: LeaderEpoch, holder: str, *, accept_empty: bool
) -> None:
    """Make `leader` the one whose writes count; called before it reads any state.

    Raises EmptyStoreError (unless `accept_empty`), StoreVanishedError, StaleEpochError and other MetadataErrors.
    """
    await store.renew()
    if await store.is_empty():
        known = await data_in_tree(zk, paths)
        if known is not None and not accept_empty:
            raise EmptyStoreError(
                f"the metadata store is empty, but {known}: restore the metadata store, or start with"
                " --accept-empty-metadata if the cluster is to forget its data"
            )
        if known is not None:
            log.warning("the metadata store is empty, which is accepted, although %s", known)
    await store.raise_epoch(leader, holder)


async def data_in_tree(zk: Client, paths: DruidPaths) -> str | None:
    """What in the tree shows that the cluster has had data, as a clause; None where nothing does."""
    try:
        published = (await zk.get(paths.coord_published)).data
    except NoNodeError:
        pass
    else:
        return f"{paths.coord_published} tells of a publication{_epoch(published)}"
    for server in await zk.children(paths.segments):
        if await _announces(zk, paths.segments_of(server)):
            return f"{paths.segments_of(server)} announces segments"
    return None


async def _announces(zk: Client, server: str) -> bool:
    try:
        batches = [f"{server}/{name}" for name in await zk.children(server)]
    except NoNodeError:
        return False
    for batch in batches:
        try:
            if read_batch((await zk.get(batch)).data, {}):
                return True
        except (NoNodeError, ModelError):
            continue
    return False


def _epoch(published: bytes) -> str:
    try:
        epoch = as_object(loads(published), "published").get("epoch")
    except ModelError:
        return ""
    return f" in epoch {epoch}" if isinstance(epoch, int) else ""


class GivenUp:
    """Says why the lead is given up: once, and not again at every try for the same reason."""

    def __init__(self) -> None:
        self._said = ""

    def say(self, why: object) -> None:
        """Log it as an error, if it is not what was said last."""
        level = logging.DEBUG if str(why) == self._said else logging.ERROR
        log.log(level, "giving up the lead: %s", why)
        self._said = str(why)

    def leads(self) -> None:
        """The next reason is news again."""
        self._said = ""
