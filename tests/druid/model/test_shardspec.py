"""Shard specs from outside: what is wrong in one is told by its field, and never found out by whoever uses it."""

from __future__ import annotations

from typing import Any

import pytest

from druidroles.model.decode import ModelError
from druidroles.model.shardspec import ShardSpec, is_complete, numbered


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ([], "shardSpec"),
        ({"type": ["x"]}, "type"),
        ({"type": "numbered", "partitionNum": "x", "partitions": 1}, "partitionNum"),
        ({"type": "numbered", "partitionNum": True, "partitions": 1}, "partitionNum"),
        ({"type": "numbered", "partitionNum": 0, "partitions": -1}, "partitions"),
        ({"type": "hashed", "partitionNum": 0, "partitions": -1, "start": {}}, "partitions"),
        ({"type": "single", "partitionNum": 0, "start": [], "end": "b"}, "start"),
        ({"type": "single", "partitionNum": 0, "end": {}}, "end"),
        ({"type": "range", "partitionNum": 0, "start": {"a": 1}}, "start"),
        ({"type": "range", "partitionNum": 0, "end": [["a"]]}, "end"),
        ({"type": "numbered_overwrite", "partitionId": 3, "atomicUpdateGroupSize": "x"}, "atomicUpdateGroupSize"),
    ],
)
def test_a_malformed_spec_is_refused_when_it_is_read(value: Any, named: str) -> None:
    """A Broker whose timeline met one of these ended."""
    with pytest.raises(ModelError, match=named):
        ShardSpec.from_json(value)


def test_a_set_of_mixed_types_is_judged_whatever_they_hold() -> None:
    chain = ShardSpec.from_json({"type": "single", "partitionNum": 0})
    other = ShardSpec.from_json({"type": "linear", "partitionNum": 1, "start": {}})
    assert is_complete([chain, other])
    assert is_complete([other, chain])


def test_what_is_plain_is_shared() -> None:
    plain = {"type": "numbered", "partitionNum": 0, "partitions": 1}
    assert ShardSpec.from_json(plain) is numbered(0, 1) is ShardSpec.from_json(dict(plain))
    assert ShardSpec.from_json({**plain, "more": 1}).to_json() == {**plain, "more": 1}
