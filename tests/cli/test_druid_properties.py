"""Druid's own property files: each key in its option, secrets from their providers, the rest named once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click
import pytest

from cli.commands.druid import command
from cli.druid_properties import PropertyError, read_settings, size
from druidroles.router.broker_strategies import Manual

COMMON = """
# what all processes share
druid.extensions.loadList=["druid-s3-extensions", "postgresql-metadata-storage"]
druid.zk.service.host=zk1:2181,zk2:2181
druid.zk.paths.base=/druid/prod
druid.zk.service.user=druid
druid.zk.service.pwd={"type": "environment", "variable": "ZK_PASSWORD"}
druid.zk.service.acl=true
druid.metadata.storage.type=postgresql
druid.metadata.storage.connector.connectURI=jdbc:postgresql://db.example:5432/druid
druid.metadata.storage.connector.user=druid
druid.metadata.storage.connector.password=p@ss word
druid.storage.type=s3
druid.storage.bucket=segments
druid.storage.baseKey=druid/prod
druid.s3.accessKey=access
druid.s3.secretKey={"type": "default", "password": "secret"}
druid.indexer.logs.type=file
druid.indexer.logs.directory=var/druid/indexing-logs
druid.selectors.indexing.serviceName=druid/overlord
druid.startup.logging.logProperties=true
"""
HISTORICAL = """
druid.host=10.1.2.3
druid.plaintextPort=18083
druid.segmentCache.locations=[{"path":"var/a","maxSize":"300g"},{"path":"/b","maxSize":"1GiB","freeSpacePercent":5}]
druid.server.maxSize=0
druid.server.tier=hot
druid.server.priority=7
druid.processing.numThreads=1
druid.worker.capacity=4
"""


def context(role: str, *arguments: str) -> dict[str, Any]:
    """What a role's command is told in the end."""
    parent = click.Context(command, info_name="druid")
    found = command.get_command(parent, role)
    assert found is not None
    with found.make_context(role, [*arguments], parent=parent) as ctx:
        return ctx.params


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directories that Druid's packages have."""
    monkeypatch.setenv("ZK_PASSWORD", "let:me in")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for directory, name, text in (
        ("_common", "common.runtime.properties", COMMON),
        ("historical", "runtime.properties", HISTORICAL),
    ):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / name).write_text(text)
    return tmp_path


def test_a_historical_from_the_files_of_druid(
    conf: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(conf)
    with caplog.at_level(logging.WARNING):
        params = context(
            "historical",
            *("--config", str(conf / "_common"), "--config", str(conf / "historical/runtime.properties")),
            *("--data-dir", "data", "--priority", "9"),
        )
    assert str(params["coord"]) == "zk://zk1:2181,zk2:2181/druid/prod"
    assert params["auth"] == (("digest", b"druid:let:me in"),)
    assert params["coord_acl"] is True
    assert params["deep_storage"] == "s3://segments/druid/prod"
    assert (params["host"], params["port"], params["tier"]) == ("10.1.2.3", 18083, "hot")
    assert params["priority"] == 9, "what is said on the command line counts"
    assert params["max_size"] is None
    assert params["locations"] == ((conf / "var/a", 300 * 10**9, 0.0), (Path("/b"), 2**30, 5.0))
    assert [record.getMessage() for record in caplog.records] == [
        "keys that mean nothing here: druid.extensions.loadList, druid.indexer.logs.directory, "
        "druid.processing.numThreads"
    ]


def test_the_metadata_store_and_keys_of_other_roles(conf: Path, caplog: pytest.LogCaptureFixture) -> None:
    extra = conf / "coordinator.properties"
    extra.write_text("druid.coordinator.period=PT30S\ndruid.coordinator.balancer.strategy=random\ndruid.host=other\n")
    params = context("coordinator", "--config", str(conf / "_common"), "--config", str(extra), "--data-dir", "data")
    assert params["metadata"] == "postgresql://druid:p%40ss%20word@db.example:5432/druid"
    assert (params["period"], params["balancer"], params["host"]) == (30_000, "random", "other")


def test_credentials_for_s3_go_where_its_clients_look() -> None:
    environment = {"AWS_ACCESS_KEY_ID": "mine"}
    read_settings(COMMON.replace('"environment"', '"default", "password": "x"'), environment)
    assert environment == {"AWS_ACCESS_KEY_ID": "mine", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("druid.zk.service.host=a,b:1/up/\ndruid.zk.paths.base=/d", {"coord": "zk://a,b:1/up/d"}),
        ("druid.zk.service.host=a", {"coord": "zk://a/druid"}),
        ("druid.storage.type=local\ndruid.storage.storageDirectory=var/deep", {"deep_storage": "var/deep"}),
        (
            "druid.metadata.storage.type=sqlite\ndruid.metadata.storage.connector.connectURI=jdbc:sqlite:/m.db",
            {"metadata": "/m.db"},
        ),
        ("druid.zk.service.sessionTimeoutMs=30000", {"session_timeout": 30.0}),
        ("druid.zk.paths.loadQueuePath=/druid/loadQueue\ndruid.metadata.storage.tables.base=druid", {}),
    ],
)
def test_several_keys_that_make_one_setting(text: str, expected: dict[str, Any]) -> None:
    assert read_settings(text, {}) == (expected, [])


def test_derby_is_named_and_not_used() -> None:
    text = "druid.metadata.storage.type=derby\ndruid.metadata.storage.connector.connectURI=jdbc:derby://h:1527/m.db"
    assert read_settings(text, {}) == (
        {},
        ["druid.metadata.storage.connector.connectURI", "druid.metadata.storage.type"],
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("druid.storage.type=hdfs", "druid.storage.type: 'hdfs' is not supported"),
        ("druid.storage.type=s3", "druid.storage.bucket: is missing"),
        ("druid.metadata.storage.type=mysql", "druid.metadata.storage.type: 'mysql' is not supported"),
        ("druid.segmentCache.locations=[{}]", "druid.segmentCache.locations: a location is an object with"),
        ("druid.segmentCache.locations=nonsense", "druid.segmentCache.locations: "),
        (
            'druid.segmentCache.locations=[{"path":"/a","maxSize":1,"freeSpacePercent":"5"}]',
            "freeSpacePercent is not a number",
        ),
        ("druid.server.maxSize=many", "druid.server.maxSize: 'many' is not a size"),
        ("druid.metadata.storage.tables.base=prod", "druid.metadata.storage.tables.base: the tables' names"),
        ("druid.zk.paths.loadQueuePath=/elsewhere", "druid.zk.paths.loadQueuePath: there is only /druid/loadQueue"),
        ("druid.zk.paths.base=/a\ndruid.zk.paths.indexer.tasksPath=/druid/indexer/tasks", "only /a/indexer/tasks"),
        ('druid.zk.service.pwd={"type":"vault"}', "druid.zk.service.pwd: its type is neither"),
        ('druid.zk.service.pwd={"password', "druid.zk.service.pwd: its JSON cannot be read"),
    ],
)
def test_what_cannot_be_had_is_refused_by_its_key(text: str, why: str) -> None:
    with pytest.raises(PropertyError, match=why):
        read_settings(text, {})


def test_sizes() -> None:
    assert [size(text) for text in ("5", "1k", "2 M", "300g", "1KiB", "3gib", "1TB")] == [
        5,
        1000,
        2_000_000,
        300 * 10**9,
        1024,
        3 * 2**30,
        10**12,
    ]
    for wrong in ("", "-1", "1.5g", "g", "1x"):
        with pytest.raises(ValueError, match="is not a size"):
            size(wrong)


def test_usage_errors(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path, why in ((tmp_path / "empty", "has neither"), (tmp_path / "none", "does not exist")):
        with pytest.raises(click.UsageError, match=why):
            context("broker", "--config", str(path), "--data-dir", "x")
    bad = tmp_path / "runtime.properties"
    bad.write_text("druid.plaintextPort=http")
    with pytest.raises(click.UsageError, match="'http' is not a valid integer"):
        context("broker", "--config", str(bad), "--data-dir", "x")


BROKER = """
druid.service=druid/broker-hot
druid.broker.select.tier=preferred
druid.broker.select.tier.preferred.tier=hot
druid.broker.select.tier.preferred.priority=lowest
druid.broker.select.tier.custom.priorities=[2, 1]
druid.broker.balancer.type=random
druid.broker.segment.watchedTiers=["hot", "cold"]
druid.broker.segment.watchRealtimeTasks=false
druid.coordinator.balancer.strategy=cost
"""
ROUTER = """
druid.service=druid/router
druid.router.defaultBrokerServiceName=druid/broker-cold
druid.router.tierToBrokerMap={"hot": "druid/broker-hot", "_default_tier": "druid/broker-cold"}
druid.router.strategies=[{"type": "manual"}]
"""


def test_brokers_and_routers_from_the_files_of_druid(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    (tmp_path / "broker" / "runtime.properties").write_text(BROKER)
    found = context("broker", "--config", str(tmp_path / "broker"), "--data-dir", str(tmp_path / "data"))
    assert (found["service"], found["select_tier"], found["priorities"]) == ("druid/broker-hot", "preferred", (2, 1))
    assert (found["preferred_tier"], found["preferred_lowest"], found["broker_balancer"]) == ("hot", True, "random")
    assert (found["watched_tiers"], found["watch_tasks"]) == (("hot", "cold"), False)
    (tmp_path / "router").mkdir()
    (tmp_path / "router" / "runtime.properties").write_text(ROUTER)
    found = context("router", "--config", str(tmp_path / "router"), "--data-dir", str(tmp_path / "data"))
    assert found["default_broker"] == "druid/broker-cold"
    assert found["tier_brokers"] == (("hot", "druid/broker-hot"), ("_default_tier", "druid/broker-cold"))
    assert found["strategies"] == (Manual(),)
