"""An Overlord whose metadata store goes, or is empty beside a tree that knows of data."""

from __future__ import annotations

from pathlib import Path

import pytest
from indexing import until
from played_workers import API, Play, act, insert_action, leads, lock_action, overlord, submit

from coordserver.server.serve import ServerHandle


async def _said(caplog: pytest.LogCaptureFixture, words: str) -> None:
    async def there() -> bool:
        return any(words in record.getMessage() for record in caplog.records)

    await until(there)


async def test_a_publication_into_a_store_that_went_is_no_publication(
    server: ServerHandle, tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    """It was answered with success, and was nowhere after the next start."""
    worker = await play("w:1")
    path, away = tmp_path / "metadata.sqlite", tmp_path / "away"
    async with overlord(server, tmp_path, "o1") as on:
        old = await leads(on)
        task = await worker.claim(await submit(on, dataSource="flights"))
        lock = (await act(on, task, lock_action())).json()["result"]
        path.rename(away)
        assert (await act(on, task, insert_action(lock["version"]))).status_code == 503

        async def stepped_down() -> bool:
            return on.role.leading is None

        await until(stepped_down)
        await _said(caplog, "is gone")
        away.rename(path)
        new = await leads(on)
        assert new.leader.epoch > old.leader.epoch
        published = await act(on, task, insert_action(lock["version"]))
        assert published.json()["result"]["success"] is True
        assert (await on.get(f"{API}/tasks")).json() != []


async def test_nobody_leads_on_an_empty_store_beside_a_tree_that_knows_of_a_publication(
    server: ServerHandle, tmp_path: Path, play: Play, caplog: pytest.LogCaptureFixture
) -> None:
    worker = await play("w:1")
    async with overlord(server, tmp_path, "o1") as on:
        await leads(on)
        task = await worker.claim(await submit(on, dataSource="flights"))
        lock = (await act(on, task, lock_action())).json()["result"]
        assert (await act(on, task, insert_action(lock["version"]))).json()["result"]["success"] is True

        async def told() -> bool:
            return await on.zk.exists(on.context.paths.coord_published) is not None

        await until(told)
    for name in ("metadata.sqlite", "metadata.sqlite-wal", "metadata.sqlite-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    async with overlord(server, tmp_path, "o1") as on:
        await _said(caplog, "the metadata store is empty")
        assert on.role.leading is None
    async with overlord(server, tmp_path, "o1", accept_empty=True) as on:
        await leads(on)
