"""A server that wants proof before anything else, beside a real one (ZooKeeper's guide: enforce.auth.enabled)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from differential.peers import ABSENT, our_server, real_zookeeper
from differential.raw import RawClient

from coordserver.core.model.errors import ErrorCode
from coordserver.core.model.operations import Op

pytestmark = pytest.mark.real

REAL = {"enforce.auth.enabled": "true", "enforce.auth.schemes": "digest"}


@pytest.fixture(params=["real", "ours"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    """Of a server of either kind that demands digest."""
    if request.param == "ours":
        with our_server(tmp_path / "ours", "--enforce-auth", "digest") as ours:
            yield ours
    elif ABSENT:
        pytest.skip(ABSENT)
    else:
        with real_zookeeper(tmp_path / "real", **REAL) as real:
            yield real


@pytest.mark.parametrize(
    ("op", "arguments", "xid"), [(Op.GET_DATA, ("/", False), 1), (Op.PING, (), -2), (Op.CLOSE_SESSION, (), 1)]
)
def test_who_proves_nothing_gets_a_session_and_one_answer(
    port: int, op: Op, arguments: tuple[object, ...], xid: int
) -> None:
    client = RawClient(port)
    assert client.connect(timeout_ms=8_000)
    answer = client.request(op, arguments)
    assert answer[:3] == (xid, 0, ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH)
    assert client.closed()


def test_an_address_is_not_among_the_schemes(port: int) -> None:
    """What is not demanded may be shown, and changes nothing."""
    client = RawClient(port)
    assert client.connect(timeout_ms=8_000)
    assert client.auth("ip", b"").error == ErrorCode.OK
    assert client.request(Op.EXISTS, ("/", False)).error == ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH
    assert client.closed()


def test_who_proves_who_he_is_is_served(port: int) -> None:
    """Each connection anew: the session does not remember it."""
    client = RawClient(port)
    assert client.connect(timeout_ms=8_000)
    assert client.auth("digest", b"user:password").error == ErrorCode.OK
    assert client.request(Op.EXISTS, ("/", False)).error == ErrorCode.OK
    client.drop()
    again = RawClient(port)
    welcome = again.connect(timeout_ms=8_000, session_id=client.session_id, password=client.password)
    assert welcome is not None
    assert welcome.session_id == client.session_id
    assert again.request(Op.EXISTS, ("/", False)).error == ErrorCode.SESSION_CLOSED_REQUIRE_SASL_AUTH
    assert again.closed()
