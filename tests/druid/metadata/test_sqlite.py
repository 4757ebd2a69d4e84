"""What only a store in a file has: files that cannot be used, and files that others are using."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio

from druidroles.metadata import MetadataError, open_sqlite_store, sqlite


async def test_files_that_cannot_be_used_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    with pytest.raises(MetadataError, match=r"directory .* does not exist"):
        async with open_sqlite_store(tmp_path / "missing" / "metadata.sqlite"):
            pass
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(MetadataError, match="not a database"):
        async with open_sqlite_store(path):
            pass
    path.unlink()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(MetadataError, match=r"metadata\.sqlite has format 99"):
        async with open_sqlite_store(path):
            pass


async def test_a_new_file_that_another_process_is_just_making_is_waited_for(tmp_path: Path) -> None:
    """SQLite itself does not wait there: a Coordinator and its stand-by that started together ended now and then."""
    path = tmp_path / "metadata.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def open_it() -> None:
        async with open_sqlite_store(path):
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it)
        await trio.sleep(0.1)
        other.rollback()
    other.close()
    async with open_sqlite_store(path) as store:
        assert await store.used_segments() == []


async def test_a_new_file_that_another_process_never_lets_go_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metadata.sqlite"
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(MetadataError, match=r"metadata\.sqlite: database is locked"):
        async with open_sqlite_store(path):
            pass
    other.close()
