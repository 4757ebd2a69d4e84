"""How the shell and the roles are let in: TLS, credentials from a file or the environment, a ZooKeeper's protocol."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path

import pytest
import trio
from authority import Authority

from coordserver.client import CREATOR_ALL_ACL, Tls, connect
from coordserver.config.address import Address
from coordserver.config.server import ServerConfig
from coordserver.server.serve import ServerHandle, serve
from druidroles.coordination.access import OPEN, VARIABLE, CoordAccess

SECRET = "alice:let me in"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
async def server(tmp_path: Path, authority: Authority, nursery: trio.Nursery) -> AsyncIterator[ServerHandle]:
    """It speaks TLS, and keeps `/mine` for Alice."""
    (tmp_path / "data").mkdir()
    pem = authority.server().pem
    config = ServerConfig(
        data_dir=tmp_path / "data", listen=(Address("127.0.0.1", 0),), tls_cert=pem, tls_key=pem, tls_ca=authority.pem
    )
    handle: ServerHandle = await nursery.start(partial(serve, config))
    async with connect(handle.address, tls=Tls(ca=authority.pem), auth=[("digest", SECRET.encode())]) as zk:
        await zk.create("/mine", b"hers", acl=CREATOR_ALL_ACL)
    yield handle
    handle.stop()


async def coord(*words: str, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run `coord`; exit code, standard output, standard error."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("COORD_")}
    done = await trio.run_process(
        [sys.executable, "-m", "cli", *words],
        capture_stdout=True,
        capture_stderr=True,
        check=False,
        env={**clean, **(environment or {})},
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("scheme", ["", "zk://"])
async def test_the_shell_with_credentials(
    server: ServerHandle, authority: Authority, tmp_path: Path, scheme: str
) -> None:
    shell = ("shell", "--server", f"{scheme}{server.address}", "--tls-ca", str(authority.pem))
    assert await coord(*shell, "get", "/mine") == (1, "", "coord shell: NoAuth: /mine\n")
    secret = tmp_path / "secret"
    secret.write_text(f"digest:{SECRET}\n")
    assert await coord(*shell, "--auth", f"@{secret}", "get", "/mine") == (0, "hers\n", "")
    by_environment = {"COORD_AUTH": f"digest:{SECRET}"}
    assert await coord(*shell, "get", "/mine", environment=by_environment) == (0, "hers\n", "")
    assert await coord("shell", "--server", server.address, "ls") == (0, "mine\nzookeeper\n", "")


async def test_what_is_wrong_is_said_without_the_secret(tmp_path: Path, authority: Authority) -> None:
    shell = ("shell", "--server", "127.0.0.1:1")
    for options, why in (
        (("--auth", "digest:hidden"), "digest credentials are digest:user:password"),
        (("--auth", f"@{tmp_path}/none"), "No such file or directory"),
        (("--auth", "telepathy"), "credentials are SCHEME"),
        (("--tls-ca", f"{tmp_path}/none.pem"), "none.pem: No such file or directory"),
        (("--tls-key", str(authority.pem)), "without a certificate"),
    ):
        code, out, err = await coord(*shell, *options, "ls")
        assert (code, out) == (2, ""), err
        assert why in err
        assert "hidden" not in err
    role = ("druid", "broker", "--data-dir", str(tmp_path / "broker"), "--coord", "zk://127.0.0.1:1")
    code, _, err = await coord(*role, "--coord-acl")
    assert code == 2
    assert "would lock everybody out" in err
    code, _, err = await coord(*role, "--coord-ca", f"{tmp_path}/none.pem")
    assert code == 1
    assert "none.pem: No such file or directory" in err


def test_a_task_inherits_how_its_worker_is_let_in(tmp_path: Path) -> None:
    access = CoordAccess(
        tls=Tls(ca=tmp_path / "ca.pem", cert=tmp_path / "cert.pem", check_hostname=False),
        auth=(("digest", b"alice:\xff\x00"),),  # type: ignore[arg-type]
        creator_acl=True,
    )
    environment = access.environment()
    assert list(environment) == [VARIABLE]
    assert CoordAccess.of_environment(environment) == access
    assert OPEN.environment() == {}
    assert CoordAccess.of_environment({}) == OPEN
