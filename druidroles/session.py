"""The session of a process, kept in its data directory for its successor.

A process that is killed and started again within its session timeout goes on with its predecessor's session: what it
announced stands, nobody sees it go and come. That suits whoever only announces itself. A leader's ephemerals are orders
and a place in the latch's queue, which a successor knows nothing of, so it ends its predecessor's session instead: the
place is free at once, not only when the session times out. So does a process that is somebody else now, at another
address say.

The directory is locked while the process lives, so a session that is found there has no other owner. Whoever has the
password has the session: the file is for its owner's eyes only.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from coordserver.client import Client
from coordserver.client.background import background
from druidroles.atomic_files import write_file
from druidroles.coordination.access import OPEN, CoordAccess
from druidroles.model.decode import ModelError, as_object, need_int, need_str

log = logging.getLogger(__name__)

SESSION_FORMAT = 1
FILE_NAME = "session"


@attrs.frozen
class KeptSession:
    """A session, and whose it is: role, address and base path. Nobody else may go on with it."""

    owner: str
    session_id: int
    password: bytes = attrs.field(repr=False)


def read_session(directory: Path) -> KeptSession | None:
    """What a predecessor left; None where there is nothing, or nothing of use. Blocks."""
    path = directory / FILE_NAME
    try:
        obj = as_object(json.loads(path.read_bytes()), "session")
        if need_int(obj, "format") != SESSION_FORMAT:
            raise ModelError(f"its format is not {SESSION_FORMAT}")
        return KeptSession(need_str(obj, "owner"), need_int(obj, "id"), bytes.fromhex(need_str(obj, "password")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as fault:  # ModelError and JSON's errors are ValueErrors
        log.warning("the session in %s is of no use: %s", path, fault)
        return None


def write_session(directory: Path, session: KeptSession) -> None:
    """Keep a session. Blocks; raises OSError."""
    obj = {
        "format": SESSION_FORMAT,
        "owner": session.owner,
        "id": session.session_id,
        "password": session.password.hex(),
    }
    write_file(directory / FILE_NAME, json.dumps(obj).encode(), private=True)


@asynccontextmanager
async def open_session(
    servers: str, directory: Path, owner: str, *, session_timeout_s: float, resume: bool, access: CoordAccess = OPEN
) -> AsyncIterator[Client]:
    """A session for as long as the block lasts: the predecessor's where `resume` and it is ours, otherwise a new one.

    Raises ConnectError.
    """
    left = await trio.to_thread.run_sync(read_session, directory)
    taken = (left.session_id, left.password) if left is not None else None
    if left is not None and not (resume and left.owner == owner):
        log.info("ending the session of %s", left.owner)
        async with access.connect(servers, session_timeout=session_timeout_s, name=owner, session=taken):
            taken = None
    async with (
        access.connect(servers, session_timeout=session_timeout_s, name=owner, session=taken) as zk,
        background() as nursery,
    ):
        await nursery.start(_keep, zk, directory, owner)
        yield zk
    if zk.session_id == 0:  # ended in order: there is nothing to go on with
        with suppress(OSError):
            (directory / FILE_NAME).unlink()


async def _keep(zk: Client, directory: Path, owner: str, *, task_status: trio.TaskStatus[None]) -> None:
    """Write each session down, until the client is closed; started with the first. Where that fails, a successor
    begins anew, which is no reason to stop.
    """
    written = 0
    async with zk.states() as states:
        async for _ in states:
            session = KeptSession(owner, zk.session_id, zk.session_password)
            if session.session_id not in (0, written):
                try:
                    await trio.to_thread.run_sync(write_session, directory, session)
                except OSError as fault:
                    log.warning("the session cannot be kept in %s: %s", directory, fault)
                written = session.session_id
                task_status.started()
                task_status = trio.TASK_STATUS_IGNORED
