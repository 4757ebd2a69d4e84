"""Going on with a predecessor's session, or ending it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from coordserver.client import Client, connect
from coordserver.server.serve import ServerHandle
from coordserver.testing.embedded import embedded_server
from druidroles.session import KeptSession, open_session, read_session, write_session

ME = "historical 127.0.0.1:8083 /druid"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    (tmp_path / "server").mkdir()
    async with embedded_server(tmp_path / "server") as handle:
        yield handle


@asynccontextmanager
async def opened(server: ServerHandle, directory: Path, owner: str = ME, resume: bool = True) -> AsyncIterator[Client]:
    async with open_session(server.address, directory, owner, session_timeout_s=4, resume=resume) as zk:
        yield zk


@asynccontextmanager
async def left_behind(server: ServerHandle, directory: Path) -> AsyncIterator[tuple[Client, int]]:
    """An onlooker, and the session of a process that was killed, which holds the ephemeral /mine."""
    async with connect(server.address) as onlooker, connect(server.address) as killed:
        await killed.create("/mine", ephemeral=True)
        write_session(directory, KeptSession(ME, killed.session_id, killed.session_password))
        yield onlooker, killed.session_id
        # What a killed process does not do: the session may not be closed by this one.
        killed._session.stop()


async def test_the_session_is_on_the_disk_before_anything_is_announced_and_for_the_owners_eyes_only(
    server: ServerHandle, tmp_path: Path
) -> None:
    async with opened(server, tmp_path) as zk:
        assert read_session(tmp_path) == KeptSession(ME, zk.session_id, zk.session_password)
        assert stat.S_IMODE((tmp_path / "session").stat().st_mode) == 0o600
        assert zk.session_password.hex() not in repr(read_session(tmp_path))
    assert not (tmp_path / "session").exists()  # it ended in order


async def test_a_successor_goes_on_with_it(server: ServerHandle, tmp_path: Path) -> None:
    async with left_behind(server, tmp_path) as (onlooker, session_id), opened(server, tmp_path) as zk:
        assert zk.session_id == session_id
        assert (await onlooker.get("/mine")).stat.ephemeral_owner == zk.session_id


@pytest.mark.parametrize(("owner", "resume"), [(ME, False), ("historical 127.0.0.1:9999 /druid", True)])
async def test_one_who_may_not_go_on_with_it_ends_it(
    server: ServerHandle, tmp_path: Path, owner: str, resume: bool
) -> None:
    async with left_behind(server, tmp_path) as (onlooker, session_id), opened(server, tmp_path, owner, resume) as zk:
        assert zk.session_id not in (0, session_id)
        assert await onlooker.exists("/mine") is None
        kept = read_session(tmp_path)
        assert kept is not None
        assert (kept.owner, kept.session_id) == (owner, zk.session_id)


async def test_the_next_session_is_kept_too(server: ServerHandle, tmp_path: Path) -> None:
    async with opened(server, tmp_path) as zk:
        first = zk.session_id
        # Ended behind its client's back, by whoever has the password.
        async with connect(server.address, session=(first, zk.session_password)):
            pass
        with trio.fail_after(20):
            while (kept := read_session(tmp_path)) is None or kept.session_id == first:  # noqa: ASYNC110 - a file
                await trio.sleep(0.01)
        assert kept.session_id == zk.session_id


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "owner": "x", "id": 1}',
        json.dumps({"format": 1, "owner": ME, "id": 5, "password": "zz"}).encode(),
    ],
)
async def test_what_is_damaged_is_no_hindrance(server: ServerHandle, tmp_path: Path, data: bytes) -> None:
    (tmp_path / "session").write_bytes(data)
    async with opened(server, tmp_path) as zk:
        assert zk.session_id


async def test_a_session_that_cannot_be_kept_is_no_hindrance(server: ServerHandle, tmp_path: Path) -> None:
    (tmp_path / "session").mkdir()
    (tmp_path / "session" / "x").mkdir()
    with pytest.raises(IsADirectoryError):
        write_session(tmp_path, KeptSession(ME, 1, b""))
    async with opened(server, tmp_path) as zk:
        assert zk.session_id
