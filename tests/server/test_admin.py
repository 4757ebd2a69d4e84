"""Administration of a real server over its sockets: words, HTTP, TLS, and the limits of who may connect where."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import trio
from authority import Authority
from raw_client import ANY_PORT, RawClient, exchange, running

from coordserver.core.model.access import digest_identity
from coordserver.core.model.acl import ACL, OPEN_ACL_UNSAFE
from coordserver.core.model.operations import Op
from coordserver.server.serve import ServerHandle

ROOT_ONLY = [tuple(ACL(31, *digest_identity(b"root:secret"))), tuple(ACL(1, "world", "anyone"))]
CHANGE = "POST /commands/srst HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ServerHandle]:
    super_digest = digest_identity(b"super:user").id
    async with running(tmp_path / "data", super_digest=super_digest) as handle:
        yield handle


async def say(address: str, word: str) -> str:
    return (await exchange(address, word.encode())).decode()


async def ask(address: str, request: str) -> tuple[int, str]:
    """Status and body."""
    head, _, body = (await exchange(address, f"{request}\r\n".encode())).decode().partition("\r\n\r\n")
    return int(head.split()[1]), body


async def command(address: str, name: str) -> Any:
    status, body = await ask(address, f"GET /commands/{name} HTTP/1.1\r\n")
    assert status == 200
    return json.loads(body)


def cells(line: str) -> dict[str, str]:
    """What is between the brackets of a line of `cons`."""
    return dict(cell.split("=") for cell in line[line.index("(") + 1 : -1].split(","))


async def test_what_cons_tells_of_a_connection(server: ServerHandle) -> None:
    client = await RawClient.open(server.address, timeout_ms=3_000)
    await client.create("/a")
    await client.ask(Op.GET_DATA, "/a", False)
    await client.ask(Op.PING)
    lines = (await say(server.address, "cons")).splitlines()
    assert len(lines) == 3
    told = next(cells(line) for line in lines if "sid" in line)
    assert told["sid"] == f"{client.hello.session_id:#x}"
    assert (told["queued"], told["recved"], told["sent"], told["to"]) == ("0", "4", "4", "3000")
    assert (told["lop"], told["lcxid"], told["lzxid"]) == ("PING", "0x2", "0x2")
    assert int(told["maxlat"]) >= int(told["avglat"]) >= int(told["minlat"]) == 0
    assert next(cells(line) for line in lines if "sid" not in line and line) == {
        **{"queued": "0", "recved": "1", "sent": "0"},
    }

    assert await say(server.address, "crst") == "Connection stats reset.\n"
    lines = (await say(server.address, "cons")).splitlines()
    told = next(cells(line) for line in lines if "sid" in line)
    assert (told["recved"], told["lop"], told["lzxid"], "lcxid" in told) == ("0", "NA", "0xffffffffffffffff", False)


async def test_srst_begins_anew_and_keeps_what_ended(server: ServerHandle) -> None:
    client = await RawClient.open(server.address)
    for _ in range(5):
        await client.ask(Op.PING)
    await client.close()
    while (await command(server.address, "monitor"))["num_alive_connections"] > 1:  # noqa: ASYNC110 - nobody tells
        await trio.sleep(0.01)
    before = await command(server.address, "monitor")
    assert before["packets_received"] >= 6
    assert await say(server.address, "srst") == "Server stats reset.\n"
    after = await command(server.address, "monitor")
    assert after["packets_received"] <= 2
    assert after["bytes_received_count"] > before["bytes_received_count"]


async def test_latency_is_of_what_had_to_wait(server: ServerHandle) -> None:
    client = await RawClient.open(server.address)
    for number in range(20):
        await client.create(f"/{number}", b"x" * 1_000)
    latency = (await say(server.address, "srvr")).splitlines()[1]
    least, average, most = latency.removeprefix("Latency min/avg/max: ").split("/")
    assert 0 <= int(least) <= float(average) <= int(most)


async def test_sessions_ephemerals_and_watches_are_listed(server: ServerHandle) -> None:
    client = await RawClient.open(server.address, timeout_ms=5_000)
    await client.create("/e", mode=1)
    await client.ask(Op.EXISTS, "/e", True)
    await client.ask(Op.ADD_WATCH, "/e", 1, -1)
    await client.ask(Op.GET_CHILDREN, "/", True)
    session = client.hello.session_id
    dump = await say(server.address, "dump")
    assert f"\t{session:#x}\n" in dump
    assert f"Sessions with Ephemerals (1):\n{session:#x}:\n\t/e\n" in dump
    assert f"sessionId: {session:#x}\n" in dump
    assert await say(server.address, "wchs") == "1 connections watching 1 paths\nTotal watches:2\n"
    assert await say(server.address, "wchc") == f"{session:#x}\n\t/e\n\n"
    assert (await command(server.address, "wchp"))["path_to_session_ids"] == {"/e": [session]}
    assert (await command(server.address, "dump"))["session_id_to_ephemeral_paths"] == {str(session): ["/e"]}


async def test_configuration_tells_the_port_and_no_secret(server: ServerHandle) -> None:
    conf = dict(line.split("=", 1) for line in (await say(server.address, "conf")).splitlines())
    assert conf["clientPort"] == server.address.rpartition(":")[2]
    assert (conf["secureClientPort"], conf["minSessionTimeout"]) == ("-1", "1000")
    assert int(conf["dataLogSize"]) > 0
    assert (await command(server.address, "sysp"))["super_digest"] == "******"
    everything = await say(server.address, "conf") + json.dumps(await command(server.address, "icfg"))
    assert digest_identity(b"super:user").id not in everything


async def test_changes_over_http_need_every_right_on_the_root(server: ServerHandle) -> None:
    """The open ACL of the root lets everybody who says who he is; then only whom it names, and the super user."""

    async def status(header: str) -> int:
        return (await ask(server.address, CHANGE + header))[0]

    assert await status("") == 401
    assert await status("Authorization: nonsense\r\n") == 401
    assert await status("Authorization: digest anybody:x\r\n") == 200
    client = await RawClient.open(server.address)
    assert (await client.ask(Op.SET_ACL, "/", ROOT_ONLY, -1)).error == 0
    assert await status("Authorization: digest anybody:x\r\n") == 403
    assert await status("Authorization: ip\r\n") == 403
    assert await status("Authorization: digest root:secret\r\n") == 200
    assert await status("Authorization: Digest super:user\r\n") == 200
    assert await status("Authorization: digest root:secret\r\nOrigin: http://evil.example\r\n") == 403
    await client.ask(Op.AUTH, "digest", b"root:secret")
    assert (await client.ask(Op.SET_ACL, "/", [tuple(one) for one in OPEN_ACL_UNSAFE], -1)).error == 0


async def test_the_last_snapshot(server: ServerHandle) -> None:
    assert (await command(server.address, "lsnp"))["timestamp"] == -1


async def test_snapshots_are_told(tmp_path: Path) -> None:
    async with running(tmp_path / "data", snapshot_every=2) as server:
        client = await RawClient.open(server.address)
        await client.create("/a")
        while (last := await command(server.address, "lsnp"))["timestamp"] == -1:  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.05)
        assert int(last["zxid"], 16) >= 1
        monitor = await command(server.address, "monitor")
        assert monitor["cnt_snapshottime"] == 1
        assert int((await say(server.address, "dirs")).split()[1]) > 0


async def test_a_long_listing_lets_others_be_served_and_survives_a_half_close(tmp_path: Path) -> None:
    """A peer that says no more (nc -N) gets the whole answer, though it is longer than one send."""
    async with running(tmp_path / "data", output_bytes=64 * 1024) as server:
        watching = await RawClient.open(server.address)
        name = "w" * 200
        for number in range(0, 5_000, 500):
            for one in range(number, number + 500):
                await watching.send(Op.EXISTS, f"/{name}{one}", True)
            assert {error for _, error in await watching.replies(500)} == {-101}

        listing = await RawClient.dial(server.address, receive_buffer=4_096)
        await listing.stream.send_all(b"wchc")
        await listing.stream.send_eof()
        other = await RawClient.open(server.address)
        assert (await other.ask(Op.PING)).error == 0
        answer = b""
        while part := await listing._receive():
            answer += part
        assert len(answer) > 1_000_000
        assert answer.count(b"\n") == 5_002


async def test_words_that_are_not_allowed(tmp_path: Path) -> None:
    async with running(tmp_path / "data", fourletter_whitelist="ruok,srvr", admin_commands="off") as server:
        assert await say(server.address, "ruok") == "imok"
        assert await say(server.address, "mntr") == "mntr is not executed because it is not in the whitelist.\n"
        assert (await ask(server.address, "GET /commands/ruok HTTP/1.1\r\n"))[0] == 404
        assert (await ask(server.address, "GET /metrics HTTP/1.1\r\n"))[0] == 200


async def test_connections_from_one_address_are_limited(tmp_path: Path) -> None:
    async with running(tmp_path / "data", max_connections_per_address=2) as server:
        one = await RawClient.open(server.address)
        await RawClient.open(server.address)
        assert await say(server.address, "ruok") == ""
        await one.close()
        while await say(server.address, "ruok") != "imok":  # noqa: ASYNC110 - nobody tells
            await trio.sleep(0.01)
        monitor = await command(server.address, "monitor")
        assert monitor["connection_rejected"] >= 1


async def test_each_address_speaks_what_it_is_for(tmp_path: Path) -> None:
    """The client port everything, the secure one TLS, the administrators' HTTP."""
    authority = Authority(tmp_path / "authority")
    pem = authority.server().pem
    async with running(
        tmp_path / "data", secure_listen=(ANY_PORT,), admin_listen=(ANY_PORT,), tls_cert=pem, tls_key=pem
    ) as server:
        plain, secure, admin = map(str, server.addresses)
        for address in (plain, secure):
            assert await exchange_tls(address, authority, b"ruok") == b"imok"
            found = await exchange_tls(address, authority, b"GET /commands/cons HTTP/1.1\r\n\r\n")
            told = json.loads(found.partition(b"\r\n\r\n")[2])
            assert (len(told["connections"]), len(told["secure_connections"])) == (0, 1)
        assert await say(plain, "ruok") == "imok"
        assert await say(secure, "ruok") == ""
        assert (await ask(admin, "GET /livez HTTP/1.1\r\n"))[0] == 200
        assert await say(admin, "ruok") == ""
        conf = await say(plain, "conf")
        assert f"secureClientPort={secure.rpartition(':')[2]}\n" in conf


async def exchange_tls(address: str, authority: Authority, data: bytes) -> bytes:
    """The same as `exchange`, over TLS."""
    host, port = address.rsplit(":", 1)
    stream = await trio.open_ssl_over_tcp_stream(host, int(port), ssl_context=authority.context())
    async with stream:
        await stream.send_all(data)
        answer = b""
        try:
            while part := await stream.receive_some(65_536):
                answer += part
        except (trio.BrokenResourceError, ssl.SSLError):
            pass
        return answer
