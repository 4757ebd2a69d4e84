"""`coord/published`: changed after the metadata store was, so that its readers need not wait for their next poll."""

from __future__ import annotations

from coordserver.client import Client, NoNodeError, Term, TransactionFailedError
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps
from druidroles.coordination.persistence import until_answered


async def tell_published(zk: Client, paths: DruidPaths, term: Term, what: str) -> None:
    """Tell everybody that follows the metadata store to read it again. TransactionFailedError if the term is over."""
    path, data = paths.coord_published, dumps({"epoch": term.epoch, "what": what})

    async def tell() -> None:
        await term.check(zk.transaction()).set(path, data).commit()

    try:
        await until_answered(tell)
    except TransactionFailedError as failed:
        if failed.index == 0 or not isinstance(failed.cause, NoNodeError):
            raise
        await zk.ensure_path(path)
        await until_answered(tell)
