"""The main job with what others run behind the seams, and on a coordination server that lets in only whom it knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from authority import Authority
from clusters import SESSION_TIMEOUT_S, Parts, Witness, open_cluster
from differential.peers import ABSENT, real_zookeeper
from main_job import check_figures, count_query, ingest, loaded
from postgres_server import ABSENT as NO_POSTGRES
from postgres_server import postgres_server
from s3_server import s3_server
from tcp_proxy import TcpProxy
from watched_job import watched_job

from coordserver.client import ACL, CREATOR_ALL_ACL, Tls, connect

pytestmark = [pytest.mark.real, pytest.mark.workflow, pytest.mark.timeout(240)]


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
async def test_a_real_zookeeper_coordinates(tmp_path: Path, witness: Witness, connecting: Callable[..., Any]) -> None:
    with real_zookeeper(tmp_path / "zookeeper") as port:
        coord = f"zk://127.0.0.1:{port}"
        async with open_cluster(tmp_path, Parts(coord=coord)) as cluster:
            await cluster.whole()
            async with connecting(coord) as zk:
                await watched_job(cluster, witness, zk)


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
async def test_a_real_zookeeper_whose_connections_break(tmp_path: Path) -> None:
    """Every connection of the cluster is cut again and again, with the writes that are under way on it."""
    with real_zookeeper(tmp_path / "zookeeper") as port, TcpProxy(port) as wire:
        parts = Parts(coord=f"zk://127.0.0.1:{wire.port}")
        async with open_cluster(tmp_path, parts) as cluster, trio.open_nursery() as nursery:

            async def break_connections() -> None:
                while True:
                    await trio.sleep(0.15)
                    wire.cut()

            await cluster.whole()
            nursery.start_soon(break_connections)
            await ingest(cluster)
            await loaded(cluster)
            await check_figures(cluster)
            nursery.cancel_scope.cancel(reason="seen enough")
            ended = {name: proc.process.returncode for name, proc in cluster.procs.items()}
            assert ended == dict.fromkeys(cluster.procs), "a process did not bear it"


async def test_a_protected_tree(tmp_path: Path, witness: Witness) -> None:
    """TLS with certificates on both sides, credentials, and a tree that nobody else can read."""
    authority = Authority(tmp_path / "authority")
    server, druid = authority.server().pem, authority.client("druid").pem
    secret = tmp_path / "secret"
    secret.write_text("digest:druid:let me in\n")
    parts = Parts(
        server_options=(
            *("--tls-cert", str(server), "--tls-key", str(server)),
            *("--tls-ca", str(authority.pem), "--tls-client-auth", "need"),
        ),
        role_options=(
            *("--coord-ca", str(authority.pem), "--coord-cert", str(druid)),
            *("--coord-auth", f"@{secret}", "--coord-acl"),
        ),
    )
    tls = Tls(ca=authority.pem, cert=druid)
    auth = [("digest", b"druid:let me in")]
    async with open_cluster(tmp_path, parts) as cluster:
        await cluster.server()
        async with connect(cluster.coord, session_timeout=SESSION_TIMEOUT_S, tls=tls, auth=auth) as zk:
            await zk.create("/druid", acl=CREATOR_ALL_ACL)
            cluster.parts = Parts(coord=cluster.coord, role_options=parts.role_options)
            await cluster.whole()
            await watched_job(cluster, witness, zk)
            entries = {entry for entry, _ in [await zk.get_acl("/druid/announcements")] for entry in entry}
            assert {entry.scheme for entry in entries} == {"x509", "digest"}
            assert ACL(31, "world", "anyone") not in entries


@pytest.mark.skipif(bool(NO_POSTGRES), reason=NO_POSTGRES)
async def test_metadata_in_postgresql(tmp_path: Path, witness: Witness, connecting: Callable[..., Any]) -> None:
    with postgres_server() as postgres:
        async with open_cluster(tmp_path, Parts(metadata=postgres.database())) as cluster:
            await cluster.whole()
            async with connecting(cluster.coord) as zk:
                await watched_job(cluster, witness, zk)


async def test_deep_storage_in_s3(tmp_path: Path, witness: Witness, connecting: Callable[..., Any]) -> None:
    with s3_server() as s3:
        s3.client.create_bucket(Bucket="druid")
        parts = Parts(deep_storage="s3://druid/segments", environment=s3.environment)
        async with open_cluster(tmp_path, parts) as cluster:
            await cluster.whole()
            async with connecting(cluster.coord) as zk:
                await watched_job(cluster, witness, zk)
        assert len(s3.keys("druid")) == 32
        assert not (tmp_path / "deep-storage").exists()


@pytest.mark.skipif(bool(ABSENT or NO_POSTGRES), reason=ABSENT or NO_POSTGRES)
async def test_everything_of_others(tmp_path: Path, witness: Witness, connecting: Callable[..., Any]) -> None:
    """ZooKeeper, PostgreSQL and S3 together, and none of ours."""
    with real_zookeeper(tmp_path / "zookeeper") as port, postgres_server() as postgres, s3_server() as s3:
        s3.client.create_bucket(Bucket="druid")
        parts = Parts(
            coord=f"zk://127.0.0.1:{port}",
            metadata=postgres.database(),
            deep_storage="s3://druid",
            environment=s3.environment,
        )
        async with open_cluster(tmp_path, parts) as cluster:
            await cluster.whole()
            async with connecting(cluster.coord) as zk:
                await watched_job(cluster, witness, zk)


async def test_property_files_of_druid(tmp_path: Path, witness: Witness, connecting: Callable[..., Any]) -> None:
    """Our server spoken to as the ZooKeeper that the files name, and the roles told nothing but their files."""
    async with open_cluster(tmp_path) as cluster:
        server = await cluster.server()
        common = tmp_path / "common.runtime.properties"
        common.write_text(
            f"druid.host=127.0.0.1\ndruid.plaintextPort=0\ndruid.zk.service.host={server.address}\n"
            f"druid.zk.service.sessionTimeoutMs={SESSION_TIMEOUT_S * 1000}\n"
            f"druid.metadata.storage.type=sqlite\n"
            f"druid.metadata.storage.connector.connectURI=jdbc:sqlite:{tmp_path}/metadata.sqlite\n"
            f"druid.storage.type=local\ndruid.storage.storageDirectory={tmp_path}/deep\n"
            "druid.indexer.runner.startPort=0\ndruid.worker.capacity=3\n"
            f'druid.coord.input.directories=["{tmp_path}/input"]\n'
        )
        cluster.arguments_of = lambda name, kind: [
            *("druid", kind, "--config", str(common), "--data-dir", str(tmp_path / name)),
        ]
        cluster.parts = Parts(coord=f"zk://{server.address}")
        await cluster.whole()
        async with connecting(cluster.coord) as zk:
            await watched_job(cluster, witness, zk)


@pytest.mark.skipif(bool(NO_POSTGRES), reason=NO_POSTGRES)
async def test_postgresql_goes_and_comes_back(tmp_path: Path) -> None:
    """What is served stays served, nobody ends, and the work goes on."""
    with postgres_server() as postgres:
        async with open_cluster(tmp_path, Parts(metadata=postgres.database())) as cluster:
            await cluster.whole()
            await ingest(cluster)
            await loaded(cluster)
            await trio.to_thread.run_sync(postgres.stop)
            with trio.move_on_after(8):  # longer than the Overlord and the Coordinators wait for a connection
                while True:
                    assert (await cluster.query(count_query()))[0]["result"]["n"] == 27004
                    await trio.sleep(0.2)
            await trio.to_thread.run_sync(postgres.start)

            async def task_accepted() -> bool:
                response = await cluster.http.post(
                    cluster.procs["overlord"].url + "/druid/indexer/v1/task", json={"type": "noop"}
                )
                return bool(response.status_code == 200)

            await cluster.until("a task is accepted again", task_accepted)
            await ingest(cluster)
            await loaded(cluster)
            await check_figures(cluster)
            ended = {name: proc.process.returncode for name, proc in cluster.procs.items()}
            assert ended == dict.fromkeys(cluster.procs), "a process did not bear it"


async def test_s3_goes_and_comes_back(tmp_path: Path) -> None:
    """A Historical that joins while deep storage is away loads when it is back; what is served stays served."""
    with s3_server() as s3:
        s3.client.create_bucket(Bucket="druid")
        parts = Parts(deep_storage="s3://druid/segments", environment=s3.environment)
        async with open_cluster(tmp_path, parts) as cluster:
            await cluster.whole(historicals=1)
            await ingest(cluster)
            await loaded(cluster, replicas=1)
            s3.pause()
            await cluster.role("historical-2", "historical")
            for _ in range(10):
                assert (await cluster.query(count_query()))[0]["result"]["n"] == 27004
                await trio.sleep(0.2)
            s3.resume()
            await loaded(cluster)
            await check_figures(cluster)
