"""The main job with what others run behind the seams, and on a coordination server that lets in only whom it knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from authority import Authority
from clusters import SESSION_TIMEOUT_S, Parts, Witness, open_cluster
from differential.peers import ABSENT, real_zookeeper
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
