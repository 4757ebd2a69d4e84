"""Header hygiene, without a network."""

from __future__ import annotations

from druidroles.router.headers import has_body, request_headers, response_headers


def test_what_concerns_one_connection_is_not_passed_on() -> None:
    """The fixed list, and what Connection names."""
    passed = request_headers(
        [
            (b"Host", b"router"),
            (b"Connection", b"keep-alive, X-Private"),
            (b"X-Private", b"1"),
            (b"TE", b"trailers"),
            (b"Upgrade", b"h2c"),
            (b"Expect", b"100-continue"),
            (b"Content-Length", b"3"),
            (b"Content-Type", b"application/json"),
            (b"Accept-Encoding", b"gzip"),
        ]
    )
    assert passed == [(b"content-length", b"3"), (b"content-type", b"application/json"), (b"accept-encoding", b"gzip")]


def test_no_compression_is_asked_for_that_the_client_did_not_want() -> None:
    """An HTTP client library asks for it by itself."""
    assert request_headers([]) == [(b"accept-encoding", b"identity")]


def test_a_length_beside_chunks_is_dropped() -> None:
    """The chunks count (RFC 9112, §6.3)."""
    names = [name for name, _ in request_headers([(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3")])]
    assert names == [b"accept-encoding"]


def test_the_epoch_of_leaders_does_not_come_from_outside() -> None:
    """A high one would make the receivers refuse the true leader."""
    assert (b"x-coord-epoch", b"999") not in request_headers([(b"X-Coord-Epoch", b"999")])


def test_answers_keep_their_length_and_their_duplicates() -> None:
    """And lose what concerns the connection behind."""
    assert response_headers(
        [
            (b"date", b"today"),
            (b"content-length", b"3"),
            (b"transfer-encoding", b"chunked"),
            (b"keep-alive", b"timeout=5"),
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"x-druid-query-id", b"q"),
        ]
    ) == [(b"content-length", b"3"), (b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"), (b"x-druid-query-id", b"q")]


def test_has_body() -> None:
    """By length or chunks."""
    assert not has_body([])
    assert not has_body([(b"content-length", b"0")])
    assert has_body([(b"content-length", b"1")])
    assert has_body([(b"transfer-encoding", b"chunked")])
