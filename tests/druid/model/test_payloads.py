"""The payloads byte for byte as Druid's mapper writes them, and what readers tolerate."""

from __future__ import annotations

import json
from typing import Any

import pytest

from druidroles.model.change_request import Action, ChangeRequest, CoordMark
from druidroles.model.decode import ModelError
from druidroles.model.interval import Interval
from druidroles.model.segment import DataSegment, SegmentDescriptor, SegmentId
from druidroles.model.server import (
    DiscoveryDruidNode,
    DruidNode,
    DruidServerMetadata,
    NodeRole,
    Worker,
    data_node_service,
)
from druidroles.model.shardspec import ShardSpec, is_complete, linear, numbered
from druidroles.model.task import (
    TaskAnnouncement,
    TaskLocation,
    TaskLock,
    TaskState,
    TaskStatus,
    new_task_id,
    task_data_source,
    task_id,
)

DAY = Interval.parse("2013-01-01/P1D")
VERSION = "2024-05-06T07:08:09.010Z"
SEGMENT = DataSegment(
    "flights", DAY, VERSION, {"type": "local", "path": "/x"}, ("carrier", "origin"), ("count",), numbered(1, 3), 9, 77
)
SEGMENT_JSON = (
    '{"dataSource":"flights","interval":"2013-01-01T00:00:00.000Z/2013-01-02T00:00:00.000Z",'
    '"version":"2024-05-06T07:08:09.010Z","loadSpec":{"type":"local","path":"/x"},"dimensions":"carrier,origin",'
    '"metrics":"count","shardSpec":{"type":"numbered","partitionNum":1,"partitions":3},"binaryVersion":9,"size":77,'
    '"identifier":"flights_2013-01-01T00:00:00.000Z_2013-01-02T00:00:00.000Z_2024-05-06T07:08:09.010Z_1"}'
)


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def test_a_segment_is_written_as_druid_writes_it() -> None:
    assert compact(SEGMENT.to_json()) == SEGMENT_JSON


def test_a_segment_reads_back_with_unknown_keys_ignored() -> None:
    read = DataSegment.from_json({**json.loads(SEGMENT_JSON), "totalRows": 5})
    assert read == SEGMENT
    assert compact(read.to_json()) == SEGMENT_JSON


def test_segments_are_equal_by_id_alone() -> None:
    pruned = DataSegment("flights", DAY, VERSION, shard_spec=numbered(1, 3))
    assert pruned == SEGMENT
    assert len({pruned, SEGMENT}) == 1
    assert SEGMENT.descriptor == SegmentDescriptor.from_json(SEGMENT.descriptor.to_json())


def test_partition_zero_is_left_out_of_the_id() -> None:
    whole = DataSegment("flights", DAY, VERSION)
    assert whole.id == "flights_2013-01-01T00:00:00.000Z_2013-01-02T00:00:00.000Z_2024-05-06T07:08:09.010Z"
    assert whole.shard_spec == numbered(0, 1)


@pytest.mark.parametrize("data_source", ["flights", "a_b", "_"])
@pytest.mark.parametrize("partition", [0, 12])
def test_an_id_comes_apart_again(data_source: str, partition: int) -> None:
    parts = SegmentId(data_source, DAY, VERSION, partition)
    assert SegmentId.parse(str(parts)) == parts


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"dataSource": None}, "dataSource"),
        ({"interval": 3}, "interval"),
        ({"version": 1}, "version"),
        ({"size": -1}, "size"),
        ({"size": "big"}, "size"),
        ({"dimensions": [1]}, "dimensions"),
        ({"shardSpec": []}, "shardSpec"),
        ({"shardSpec": {"type": "numbered", "partitionNum": True}}, "partitionNum"),
    ],
)
def test_a_segment_that_is_none_names_the_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ModelError, match=field):
        DataSegment.from_json({**json.loads(SEGMENT_JSON), **change})


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "numbered", "partitionNum": 1, "partitions": 0},
        {"type": "linear", "partitionNum": 4},
        {"type": "none"},
        {"type": "hashed", "partitionNum": 2, "partitions": 4, "bucketId": 1, "partitionFunction": "murmur3_32_abs"},
        {"type": "range", "partitionNum": 0, "numCorePartitions": 1, "dimensions": ["a"], "start": None, "end": ["m"]},
        {"type": "numbered_overwrite", "partitionId": 32768, "minorVersion": 1, "atomicUpdateGroupSize": 1},
        {"type": "of_the_future", "partitionNum": 1, "secrets": [1, {"a": None}]},
    ],
)
def test_a_shard_spec_passes_through_unchanged(spec: dict[str, Any]) -> None:
    assert ShardSpec.from_json(spec).to_json() == spec


def test_when_a_set_of_partitions_is_complete() -> None:
    assert not is_complete([])
    assert not is_complete([numbered(0, 2)])
    assert is_complete([numbered(1, 2), numbered(0, 2), numbered(5, 2)])
    assert is_complete([numbered(7, 0)])
    assert is_complete([linear(3)])
    assert is_complete([ShardSpec("of_the_future", 9)])
    old_a = ShardSpec.from_json({"type": "single", "dimension": "d", "start": None, "end": "m", "partitionNum": 0})
    old_b = ShardSpec.from_json({"type": "single", "dimension": "d", "start": "m", "end": None, "partitionNum": 1})
    assert not is_complete([old_a])
    assert not is_complete([old_b])
    assert is_complete([old_b, old_a])


def test_a_change_request_inlines_the_segment() -> None:
    assert compact(ChangeRequest.load(SEGMENT).to_json()) == '{"action":"load",' + SEGMENT_JSON[1:]
    ours = ChangeRequest.drop(SEGMENT, CoordMark(epoch=7, attempt=2))
    assert compact(ours.to_json()).endswith(',"coord":{"epoch":7,"attempt":2}}')
    read = ChangeRequest.from_json(ours.to_json())
    assert (read.action, read.segment, read.coord) == (Action.DROP, SEGMENT, CoordMark(7, 2))
    assert ChangeRequest.from_json({"action": "noop"}).id == ""
    with pytest.raises(ModelError, match="action"):
        ChangeRequest.from_json({"action": "explode"})


def test_server_metadata() -> None:
    metadata = DruidServerMetadata("h:8083", "h:8083", None, 100)
    assert compact(metadata.to_json()) == (
        '{"name":"h:8083","host":"h:8083","hostAndTlsPort":null,"maxSize":100,"type":"historical",'
        '"tier":"_default_tier","priority":0}'
    )
    assert DruidServerMetadata.from_json({**metadata.to_json(), "storageSize": 5}) == metadata
    assert metadata.url == "http://h:8083"


def test_a_discovery_node() -> None:
    node = DiscoveryDruidNode(
        DruidNode("druid/historical", "h", 8083),
        NodeRole.HISTORICAL,
        {"dataNodeService": data_node_service(DruidServerMetadata("h:8083", max_size=5))},
        start_time_ms=0,
        available_processors=2,
        total_memory=3,
    )
    assert compact(node.to_json()) == (
        '{"druidNode":{"service":"druid/historical","host":"h","bindOnHost":false,"plaintextPort":8083,"port":-1,'
        '"tlsPort":-1,"enablePlaintextPort":true,"enableTlsPort":false},"nodeType":"historical",'
        '"services":{"dataNodeService":{"type":"dataNodeService","tier":"_default_tier","maxSize":5,'
        '"serverType":"historical","priority":0}},"startTime":"1970-01-01T00:00:00.000Z","availableProcessors":2,'
        '"totalMemory":3}'
    )
    assert DiscoveryDruidNode.from_json(node.to_json()) == node
    assert (node.name, node.url) == ("h:8083", "http://h:8083")
    with pytest.raises(ModelError, match="nodeType"):
        DiscoveryDruidNode.from_json({**node.to_json(), "nodeType": "janitor"})


def test_role_directories_are_upper_case_and_json_names_camel() -> None:
    assert {role.name for role in NodeRole} == {
        *("COORDINATOR", "HISTORICAL", "BROKER", "OVERLORD", "PEON", "ROUTER", "MIDDLE_MANAGER", "INDEXER")
    }
    assert NodeRole.MIDDLE_MANAGER.value == "middleManager"
    assert NodeRole.MIDDLE_MANAGER.service_name == "druid/middlemanager"


def test_a_worker() -> None:
    worker = Worker("h:8091", "10.0.0.1", 3)
    assert compact(worker.to_json()) == (
        '{"scheme":"http","host":"h:8091","ip":"10.0.0.1","capacity":3,"version":"0",'
        '"category":"_default_worker_category"}'
    )
    assert Worker.from_json(worker.to_json()) == worker
    assert not Worker.from_json({**worker.to_json(), "version": ""}).enabled


TASK = {"type": "index_parallel", "id": "t1", "spec": {"dataSchema": {"dataSource": "flights"}}}


def test_a_task_announcement() -> None:
    status = TaskStatus.running("t1", TaskLocation("h", 8100))
    announcement = TaskAnnouncement.of(TASK, status)
    assert compact(announcement.to_json()) == (
        '{"id":"t1","type":"index_parallel","status":"RUNNING","taskStatus":{"id":"t1","status":"RUNNING",'
        '"duration":-1,"errorMsg":null,"location":{"host":"h","port":8100,"tlsPort":-1}},'
        '"taskResource":{"availabilityGroup":"t1","requiredCapacity":1},'
        '"taskLocation":{"host":"h","port":8100,"tlsPort":-1},"taskDataSource":"flights"}'
    )
    assert TaskAnnouncement.from_json(announcement.to_json()) == announcement
    old = {"id": "t1", "status": "SUCCESS", "taskLocation": {"host": "h", "port": 1}}
    assert TaskAnnouncement.from_json(old).status == TaskStatus("t1", TaskState.SUCCESS, location=TaskLocation("h", 1))


def test_an_error_message_is_cut_at_100_characters() -> None:
    assert TaskStatus.failure("t1", "x" * 101).error_msg == "x" * 100 + "..."
    assert TaskStatus.failure("t1", "x" * 100).error_msg == "x" * 100


def test_a_task_lock() -> None:
    lock = TaskLock("g", "flights", DAY, VERSION)
    assert compact(lock.to_json()) == (
        '{"type":"timeChunk","lockType":"EXCLUSIVE","groupId":"g","dataSource":"flights",'
        '"interval":"2013-01-01T00:00:00.000Z/2013-01-02T00:00:00.000Z","version":"2024-05-06T07:08:09.010Z",'
        '"priority":50,"revoked":false}'
    )
    assert TaskLock.from_json(lock.to_json()) == lock


def test_what_is_read_from_a_task() -> None:
    assert task_data_source(TASK) == "flights"
    assert task_data_source({**TASK, "dataSource": "own"}) == "own"
    assert new_task_id("noop", "ds", "abcdefgh", 0) == "noop_ds_abcdefgh_1970-01-01T00:00:00.000Z"
    for bad in ("", "a/b", ".."):
        with pytest.raises(ModelError):
            task_id({"id": bad})
