"""Which requests a stranger's page made a browser send: one table for the server's HTTP and the Druid roles'."""

from __future__ import annotations

import pytest

from coordserver.core.model.web import WebPolicy

POLICY = WebPolicy(frozenset({"node-1", "router.example"}), frozenset({"router.example"}))

OURS = ("127.0.0.1", "127.0.0.1:8888", "[::1]:8888", "[::1]", "10.0.0.7:1", "localhost:8888", "LocalHost", "node-1:1")
FOREIGN = ("evil.example", "evil.example:8888", "", ":8888", "localhost.evil.example", "127.0.0.1.evil.example")


@pytest.mark.parametrize("host", OURS)
def test_a_host_of_ours_is_taken_with_no_origin_or_its_own(host: str) -> None:
    assert POLICY.refusal(host, None) is None
    assert POLICY.refusal(host, f"http://{host}") is None
    assert POLICY.refusal(host, "http://router.example:9999") is None


@pytest.mark.parametrize("host", FOREIGN)
def test_a_foreign_host_is_refused_whatever_the_origin(host: str) -> None:
    for origin in (None, f"http://{host}", "http://router.example"):
        assert POLICY.refusal(host, origin) is not None


@pytest.mark.parametrize("host", [*OURS, None])
@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "", "http://", "http://127.0.0.1:9", "http://node-1"]
)
def test_another_origin_is_refused_whatever_the_host(host: str | None, origin: str) -> None:
    assert POLICY.refusal(host, origin) is not None


def test_a_request_without_either_comes_from_no_browser() -> None:
    assert POLICY.refusal(None, None) is None


def test_a_star_takes_every_host_but_no_other_origin() -> None:
    policy = WebPolicy(frozenset({"*"}))
    assert policy.refusal("any.example", None) is None
    assert policy.refusal("any.example", "http://any.example") is None
    assert policy.refusal("any.example", "http://evil.example") is not None
