"""What only PostgreSQL has: other processes at the same time, paused ones, a server that goes, databases of others."""

from __future__ import annotations

import attrs
import psycopg
import pytest
import trio
from postgres_server import PostgresServer, make_tables_of_druid, postgres_server

from druidroles.metadata import (
    LeaderEpoch,
    MetadataError,
    StaleEpochError,
    open_store,
    parse_metadata_location,
)
from druidroles.metadata import postgres as module
from druidroles.metadata.postgres import PostgresMetadataStore, open_postgres_store

OVERLORD = LeaderEpoch(role="overlord", epoch=7)
NEXT = attrs.evolve(OVERLORD, epoch=8)


async def test_druids_names_and_types(postgres: PostgresServer) -> None:
    url = postgres.database()
    async with open_store(parse_metadata_location("jdbc:" + url)):
        pass
    with psycopg.connect(url) as connection:
        rows = connection.execute(
            "SELECT column_name, data_type, is_nullable FROM information_schema.columns"
            " WHERE table_name = 'druid_segments' ORDER BY ordinal_position"
        ).fetchall()
        text = ("character varying", "NO")
        assert rows == [
            ("id", *text),
            ("datasource", *text),
            ("created_date", *text),
            ("start", *text),
            ("end", *text),
            ("partitioned", "boolean", "NO"),
            ("version", *text),
            ("used", "boolean", "NO"),
            ("payload", "bytea", "NO"),
            ("used_status_last_updated", *text),
        ]
        names = {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    assert {name for name in names if name.startswith("druid_")} == {
        "druid_audit",
        "druid_config",
        "druid_datasource",
        "druid_pendingsegments",
        "druid_rules",
        "druid_segments",
        "druid_tasklocks",
        "druid_tasks",
    }


async def test_a_new_leader_waits_for_a_transaction_of_the_old_one_and_then_no_more_come(
    postgres: PostgresServer,
) -> None:
    url = postgres.database()
    async with open_postgres_store(url) as old, open_postgres_store(url) as new:
        await old.raise_epoch(OVERLORD)
        entered, leave = trio.Event(), trio.Event()
        raised = False

        def slow(connection: object) -> None:
            trio.from_thread.run_sync(entered.set)
            trio.from_thread.run(leave.wait)
            assert not raised, "two leaders wrote at a time"

        async def take_over() -> None:
            nonlocal raised
            await new.raise_epoch(NEXT)
            raised = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(old._write, OVERLORD, slow)
            await entered.wait()
            nursery.start_soon(take_over)
            await trio.sleep(0.3)
            leave.set()
        assert raised
        with pytest.raises(StaleEpochError):
            await old.set_used(OVERLORD, ["any"], False)
        assert await new.epochs() == {"overlord": 8}


async def test_a_process_paused_in_a_transaction_holds_nobody_up_for_long(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(module._SERVER_OPTIONS, "idle_in_transaction_session_timeout", 300)
    url = postgres.database()
    async with open_postgres_store(url) as old, open_postgres_store(url) as new:
        await old.raise_epoch(OVERLORD)
        entered, leave = trio.Event(), trio.Event()

        def paused(connection: object) -> None:
            trio.from_thread.run_sync(entered.set)
            trio.from_thread.run(leave.wait)

        async def be_refused() -> None:
            with pytest.raises(MetadataError, match="metadata store postgresql://"):
                await old._write(OVERLORD, paused)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(be_refused)
            await entered.wait()
            await new.raise_epoch(NEXT)
            leave.set()
        with pytest.raises(StaleEpochError):
            await old.set_used(OVERLORD, ["any"], False)


async def epochs_or_none(store: PostgresMetadataStore) -> dict[str, int] | None:
    try:
        return await store.epochs()
    except MetadataError:
        return None


async def test_a_server_that_goes_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_S", 1.0)
    with postgres_server() as server:
        url = server.database()
        async with open_postgres_store(url) as store:
            await store.raise_epoch(OVERLORD)
            server.stop()
            with pytest.raises(MetadataError, match=r"metadata store postgresql://127\.0\.0\.1:"):
                await store.epochs()
            server.start()
            with trio.fail_after(30):
                while (epochs := await epochs_or_none(store)) is None:  # noqa: ASYNC110 - it is another process
                    await trio.sleep(0.05)
            assert epochs == {"overlord": 7}
            assert await store.used_segments() == []


async def test_who_is_cancelled_does_not_wait_for_the_server(postgres: PostgresServer) -> None:
    async with open_postgres_store(postgres.database()) as store:
        await store.raise_epoch(OVERLORD)
        with trio.move_on_after(0.2) as scope:
            await store._database.read(lambda c: c.execute("SELECT pg_sleep(2)"))
        assert scope.cancelled_caught
        assert await store.epochs() == {"overlord": 7}


async def test_databases_that_cannot_be_used_are_refused_in_one_line(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = f"postgresql://druid:secret@127.0.0.1:{postgres.port}/nowhere"
    with pytest.raises(MetadataError, match="does not exist") as caught:
        async with open_postgres_store(nowhere):
            pass
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(MetadataError, match="not a PostgreSQL URL"):
        async with open_postgres_store("postgresql://host/db?nonsense=1"):
            pass
    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE coord_format (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO coord_format VALUES (99)")
    with pytest.raises(MetadataError, match="has format 99"):
        async with open_postgres_store(url):
            pass


async def test_the_used_segments_are_scanned_by_an_index_also_in_tables_of_druid(postgres: PostgresServer) -> None:
    url = postgres.database()
    make_tables_of_druid(url)
    async with open_postgres_store(url) as store:
        await store.raise_epoch(OVERLORD)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET enable_seqscan = off")
        connection.execute("SET enable_bitmapscan = off")
        plan = connection.execute(
            "EXPLAIN SELECT id, payload FROM druid_segments WHERE used = TRUE AND id COLLATE \"C\" > 'a'"
            ' ORDER BY id COLLATE "C" LIMIT 500'
        ).fetchall()
    assert "idx_coord_segments_id" in str(plan)
    assert "Sort" not in str(plan)


def test_locations() -> None:
    assert parse_metadata_location("jdbc:postgresql://h/db") == "postgresql://h/db"
    assert str(parse_metadata_location("some/file.sqlite")) == "some/file.sqlite"
    for wrong in ("jdbc:mysql://h/db", "mysql://user:secret@h/db", "jdbc:derby:file"):
        with pytest.raises(ValueError, match="postgresql://") as caught:
            parse_metadata_location(wrong)
        assert "secret@" not in str(caught.value)
