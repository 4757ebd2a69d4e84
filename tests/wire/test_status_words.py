"""Four-letter words and the least of HTTP."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordserver.core.errors import WireError
from coordserver.wire import fourletter, http
from coordserver.wire.facts import ServerFacts

UP = ServerFacts(version="1.2", serving=True, zxid=0x1F, znodes=7)
DOWN = ServerFacts(version="1.2", serving=False)


def test_words() -> None:
    assert fourletter.answer(b"ruok", UP) == b"imok"
    assert b"Zxid: 0x1f\nMode: standalone\nNode count: 7\n" in (fourletter.answer(b"srvr", UP) or b"")
    assert b"zk_znode_count\t7\n" in (fourletter.answer(b"mntr", UP) or b"")
    assert fourletter.answer(b"xxxx", UP) is None


def status(request: bytes, facts: ServerFacts) -> bytes:
    response = http.answer(request, facts)
    assert response is not None
    return response.split(b" ", 2)[1]


def test_health_tells_readiness() -> None:
    assert status(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n", UP) == b"200"
    assert status(b"GET /readyz?verbose HTTP/1.1\r\n\r\n", DOWN) == b"503"
    assert status(b"GET /livez HTTP/1.1\r\n\r\n", DOWN) == b"200"
    assert status(b"GET /nothing HTTP/1.1\r\n\r\n", UP) == b"404"
    assert status(b"GET /livez\r\n\r\n", UP) == b"400"


def test_metrics_and_head() -> None:
    got = http.answer(b"GET /metrics HTTP/1.1\r\n\r\n", UP) or b""
    assert b"\nznode_count 7\n" in got
    head = http.answer(b"HEAD /metrics HTTP/1.1\r\n\r\n", UP) or b""
    assert got.startswith(head)
    assert head.endswith(b"\r\n\r\n")


def test_a_head_without_end_is_refused() -> None:
    assert http.answer(b"GET /" + b"x" * 8000, UP) is None
    with pytest.raises(WireError):
        http.answer(b"GET /" + b"x" * 9000, UP)


@given(st.binary(max_size=100))
def test_any_head_gets_a_response(data: bytes) -> None:
    assert (http.answer(b"GET " + data + b"\r\n\r\n", UP) or b"").startswith(b"HTTP/1.1 ")
