"""Where everything lies, what payloads are, and the value of --coord."""

from __future__ import annotations

import gzip

import pytest

from druidroles.coordination import payloads
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.model.decode import ModelError
from druidroles.model.server import NodeRole


def test_the_layout_is_druids() -> None:
    paths = DruidPaths("druid/")
    assert paths.base == "/druid"
    assert paths.announcement("h:1") == "/druid/announcements/h:1"
    assert paths.segments_of("h:1") == "/druid/segments/h:1"
    assert paths.load_request("h:1", "s") == "/druid/loadQueue/h:1/s"
    assert paths.coordinator_latch == "/druid/coordinator/_COORDINATOR"
    assert paths.overlord_latch == "/druid/overlord/_OVERLORD"
    assert paths.worker("h:1") == "/druid/indexer/announcements/h:1"
    assert paths.task("h:1", "t") == "/druid/indexer/tasks/h:1/t"
    assert paths.task_status("h:1", "t") == "/druid/indexer/status/h:1/t"
    assert paths.discovery_node(NodeRole.MIDDLE_MANAGER, "h:1") == "/druid/internal-discovery/MIDDLE_MANAGER/h:1"
    assert paths.coord_status(NodeRole.MIDDLE_MANAGER, "h:1") == "/druid/coord/status/middleManager/h:1"
    assert paths.coord_published == "/druid/coord/published"
    assert len(set(paths.layout())) == 8 + 2 * len(NodeRole)


@pytest.mark.parametrize("base", ["", "/", "/a//b"])
def test_a_base_must_be_a_path(base: str) -> None:
    with pytest.raises(ValueError, match="is not a base path"):
        DruidPaths(base)


def test_payloads_read_back_gzipped_or_not() -> None:
    value = {"name": "flüge", "n": [1, None, True]}
    assert payloads.dumps(value) == '{"name":"flüge","n":[1,null,true]}'.encode()
    assert payloads.loads(payloads.dumps(value)) == payloads.loads(payloads.dumps_gz(value)) == value
    assert payloads.dumps_gz(value) == payloads.dumps_gz(value)
    assert gzip.decompress(payloads.dumps_gz(value)) == payloads.dumps(value)


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b"\x1f\x8b", gzip.compress(b"1")[:-1], b"[" * 100_000], ids=range(6)
)
def test_garbage_is_no_payload(data: bytes) -> None:
    with pytest.raises(ModelError):
        payloads.loads(data)


def test_what_inflates_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_INFLATED_BYTES", 1000)
    assert payloads.loads(gzip.compress(b"1" + b" " * 900)) == 1
    with pytest.raises(ModelError, match="inflates to more than 1000 bytes"):
        payloads.loads(gzip.compress(b"1" + b" " * 1000))


def test_druids_two_keys_of_one_name() -> None:
    """Its dataNodeService has `type` twice: its own name, then the server's type."""
    text = b'{"type":"dataNodeService","tier":"t","type":"historical"}'
    assert payloads.loads(text) == {"type": "dataNodeService", "tier": "t", "serverType": "historical"}
    text = b'{"type":"dataNodeService","serverType":"bridge","type":"historical"}'
    assert payloads.loads(text) == {"type": "dataNodeService", "serverType": "bridge"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("coord://h:1/druid", CoordUrl("coord", "h:1", "/druid")),
        ("coord://h", CoordUrl("coord", "h:2181", "/druid")),
        ("zk://a,b:3/x/y/", CoordUrl("zk", "a:2181,b:3", "/x/y")),
        ("coord://[::1]:5", CoordUrl("coord", "[::1]:5", "/druid")),
        ("coord://[::1]", CoordUrl("coord", "[::1]:2181", "/druid")),
    ],
)
def test_coord_urls(text: str, expected: CoordUrl) -> None:
    assert CoordUrl.parse(text) == expected
    assert CoordUrl.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text", ["h:1", "http://h:1/druid", "coord://", "coord://h:x", "coord://h:0", "coord://::1", "coord://h/a/../b"]
)
def test_what_is_no_coord_url(text: str) -> None:
    with pytest.raises(ValueError, match=r"coord://|not a path"):
        CoordUrl.parse(text)
