"""What only a store in a file has: files that cannot be used."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from druidroles.metadata import MetadataError, open_sqlite_store


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
