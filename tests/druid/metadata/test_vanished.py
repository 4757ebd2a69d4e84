"""A store whose file is removed or replaced under the process that has it open: nothing more counts as written."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from druidroles.metadata import Audit, LeaderEpoch, SqliteMetadataStore, open_sqlite_store
from druidroles.metadata import sql_rules as statements
from druidroles.metadata.errors import StoreVanishedError

LEADER = LeaderEpoch(role="overlord", epoch=7)


def take_away(path: Path) -> None:
    """The file and what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)


async def refused(store: SqliteMetadataStore, named: str) -> None:
    """Every way in raises, and says why."""
    for ask in (
        store.epochs,
        store.used_segments,
        store.rules,
        lambda: store.set_config(LEADER, "c", {}, Audit()),
        lambda: store.raise_epoch(LEADER),
        store.until_lost,
    ):
        with pytest.raises(StoreVanishedError, match=named):
            await ask()


async def test_a_removed_file_is_not_written_to_and_counts_again_when_it_is_put_back(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    async with open_sqlite_store(path) as store:
        await store.raise_epoch(LEADER)
        await store.set_config(LEADER, "c", {"x": 1}, Audit())
        path.rename(tmp_path / "away")
        await refused(store, "is gone .*put the file back")
        with pytest.raises(StoreVanishedError):
            await store.renew()
        assert not path.exists()
        (tmp_path / "away").rename(path)
        await store.renew()
        assert await store.config("c") == {"x": 1}


async def test_a_file_that_was_replaced_is_opened_at_the_next_term_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, backup = tmp_path / "metadata.sqlite", tmp_path / "backup.sqlite"
    async with open_sqlite_store(backup) as other:
        await other.raise_epoch(LeaderEpoch(role="overlord", epoch=3))
        await other.set_config(LeaderEpoch(role="overlord", epoch=3), "c", {"x": "backup"}, Audit())
    async with open_sqlite_store(path) as store:
        await store.raise_epoch(LEADER)
        take_away(path)
        shutil.copy(backup, path)
        await refused(store, "was replaced by another file")
        with caplog.at_level(logging.WARNING):
            await store.renew()
        assert "was replaced: the file that is there now is opened" in caplog.text
        assert await store.config("c") == {"x": "backup"}
        assert await store.epochs() == {"overlord": 3}
        await store.raise_epoch(LEADER)
        assert await store.used_segments() == []


async def test_what_goes_between_the_first_statement_and_the_commit_is_not_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metadata.sqlite"
    async with open_sqlite_store(path) as store:
        await store.raise_epoch(LEADER)
        set_config = statements.set_config

        def and_then_gone(*arguments: object) -> None:
            set_config(*arguments)  # type: ignore[arg-type]
            path.rename(tmp_path / "away")

        monkeypatch.setattr(statements, "set_config", and_then_gone)
        with pytest.raises(StoreVanishedError):
            await store.set_config(LEADER, "c", {}, Audit())
        (tmp_path / "away").rename(path)
        assert await store.config("c") is None


async def test_a_store_is_empty_until_somebody_leads_on_it(tmp_path: Path) -> None:
    async with open_sqlite_store(tmp_path / "metadata.sqlite") as store:
        assert await store.is_empty()
        await store.raise_epoch(LEADER)
        assert not await store.is_empty()


async def test_the_watch_ends_when_the_file_goes(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    ended = trio.Event()

    async def watch(store: SqliteMetadataStore) -> None:
        with pytest.raises(StoreVanishedError):
            await store.until_lost()
        ended.set()

    async with open_sqlite_store(path) as store, trio.open_nursery() as nursery:
        nursery.start_soon(watch, store)
        await trio.testing.wait_all_tasks_blocked()
        assert not ended.is_set()
        take_away(path)
        await ended.wait()
