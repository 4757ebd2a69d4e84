"""The routes of roles that are not started, and what each does with a key in its body that nobody reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from starlette.routing import BaseRoute, Route

from druidroles.broker.role import BrokerSettings
from druidroles.broker.role import build as build_broker
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.coordinator.role import CoordinatorSettings
from druidroles.coordinator.role import build as build_coordinator
from druidroles.middlemanager.role import MiddleManagerSettings
from druidroles.middlemanager.role import build as build_middlemanager
from druidroles.model.server import NodeRole
from druidroles.overlord.role import OverlordSettings
from druidroles.overlord.role import build as build_overlord
from druidroles.process import RoleContext, RoleSettings

ROLES = (NodeRole.COORDINATOR, NodeRole.OVERLORD, NodeRole.MIDDLE_MANAGER, NodeRole.BROKER)
UNKNOWN = "unheardOf"
_SPEC = {
    "dataSchema": {"dataSource": "wiki", "timestampSpec": {"column": "t"}, "granularitySpec": {}},
    "ioConfig": {
        "type": "index_parallel",
        "inputSource": {"type": "inline", "data": "t,x\n"},
        "inputFormat": {"type": "csv", "findColumnsFromHeader": True},
    },
}
_NEW = {UNKNOWN: 1}
_COMPACTION = {"type": "interval", "interval": "2013/2014"}


def _spec(path: str) -> dict[str, Any]:
    """The ingestion task with an unknown key in one of its parts."""
    part, *below = path.split(".") if path else ("",)
    if not part:
        return {"type": "index_parallel", "spec": {**_SPEC, **_NEW}}
    inner = {**_SPEC[part], **_NEW} if not below else {**_SPEC[part], below[0]: _NEW}
    return {"type": "index_parallel", "spec": {**_SPEC, part: inner}}


# What a role does with an unknown key in a body: bodies that it must refuse, or why it need not.
BODIES: dict[str, list[Any] | str] = {
    # Coordinator
    "POST /druid/coordinator/v1/config": [_NEW, {"maxSegmentsToMove": 5, **_NEW}],
    "POST /druid/coordinator/v1/rules/{ds}": [
        [{"type": "loadForever", **_NEW}],
        [{"type": "dropByPeriod", "period": "P1D", "tieredReplicants": {"hot": 1}}],
        [{"type": "loadForever", "interval": "2013/2014"}],
    ],
    "POST /druid/coordinator/v1/datasources/{ds}/markUsed": [{"interval": "2013/2014", **_NEW}],
    "POST /druid/coordinator/v1/datasources/{ds}/markUnused": [
        {"interval": "2013/2014", **_NEW},
        {"segmentIds": ["x"], **_NEW},
        {"segmentIds": ["x"], "versions": ["v"]},
    ],
    "POST /druid/coordinator/v1/metadata/datasources/{ds}/segments": "a list of intervals",
    "POST /druid/coordinator/v1/datasources/{ds}": "no body",
    "DELETE /druid/coordinator/v1/datasources/{ds}": "no body",
    "POST /druid/coordinator/v1/datasources/{ds}/segments/{segment}": "no body",
    "DELETE /druid/coordinator/v1/datasources/{ds}/segments/{segment}": "no body",
    "DELETE /druid/coordinator/v1/datasources/{ds}/intervals/{interval}": "no body",
    # Overlord
    "POST /druid/indexer/v1/task": [
        {"type": "noop", **_NEW},
        {"type": "noop", "resource": _NEW},
        {"type": "kill", "dataSource": "wiki", "interval": "2013/2014", "version": ["v"]},
        {"type": "compact", "dataSource": "wiki", "interval": "2013/2014", **_NEW},
        {"type": "compact", "dataSource": "wiki", "ioConfig": {"inputSpec": _COMPACTION, **_NEW}},
        {"type": "compact", "dataSource": "wiki", "ioConfig": {"inputSpec": {**_COMPACTION, **_NEW}}},
        {"type": "compact", "dataSource": "wiki", "interval": "2013/2014", "granularitySpec": _NEW},
        *(_spec(path) for path in ("", "dataSchema", "ioConfig", "dataSchema.granularitySpec")),
    ],
    "POST /druid/indexer/v1/worker": [
        _NEW,
        {"selectStrategy": {"type": "equalDistribution", **_NEW}},
        {"selectStrategy": {"type": "equalDistribution", "workerCategorySpec": {}}},
        {"selectStrategy": {"type": "equalDistribution", "taskLimits": _NEW}},
        {"selectStrategy": {"type": "fillCapacity", "affinityConfig": {"affinity": {}, **_NEW}}},
        {"selectStrategy": {"type": "fillCapacityWithCategorySpec", "workerCategorySpec": _NEW}},
        {
            "selectStrategy": {
                "type": "fillCapacityWithCategorySpec",
                "workerCategorySpec": {"categoryMap": {"noop": _NEW}},
            }
        },
    ],
    "POST /druid/indexer/v1/lockedIntervals/v2": [[{"datasource": "wiki", **_NEW}]],
    "POST /druid/indexer/v1/activeLocks": [[{"datasource": "wiki", **_NEW}]],
    "POST /druid/indexer/v1/lockedIntervals": "each key is a datasource",
    "POST /druid/indexer/v1/taskStatus": "a list of ids",
    "POST /druid/indexer/v1/action": "tasks of Druid send keys of their release; those that would have an effect are "
    "refused by name",
    "POST /druid/indexer/v1/task/{id}/shutdown": "no body",
    "POST /druid/indexer/v1/datasources/{name}/shutdownAllTasks": "no body",
    "DELETE /druid/indexer/v1/pendingSegments/{name}": "no body",
    "POST /druid/indexer/v1/worker/{host}/enable": "no body",
    "POST /druid/indexer/v1/worker/{host}/disable": "no body",
    # MiddleManager
    "POST /druid/worker/v1/enable": "no body",
    "POST /druid/worker/v1/disable": "no body",
    "POST /druid/worker/v1/task/{id}/shutdown": "no body",
}
# Below these nothing is done with a body, or it is a query, which Routers and Brokers serialise anew with more keys.
OTHERWISE = (
    "/druid/v2",
    "/druid/coordinator/v1/compaction",
    "/druid/coordinator/v1/config/compaction",
    "/druid/coordinator/v1/lookups",
    "/druid/indexer/v1/supervisor",
    "/druid/indexer/v1/sampler",
)


def routes_of(role: NodeRole, directory: Path) -> list[BaseRoute]:
    """The routes of a role that is not started, so that nothing but the path decides."""
    settings = RoleSettings(
        role=role, coord=CoordUrl.parse("coord://h:1/druid"), host="127.0.0.1", port=1, data_dir=directory
    )
    nobody: Any = cast(Any, None)
    context = RoleContext(settings, nobody, DruidPaths("/druid"), nobody, "127.0.0.1:1")
    metadata = directory / "metadata.sqlite"
    match role:
        case NodeRole.COORDINATOR:
            return build_coordinator(context, CoordinatorSettings(metadata=metadata)).routes()
        case NodeRole.OVERLORD:
            return build_overlord(context, OverlordSettings(metadata=metadata)).routes()
        case NodeRole.MIDDLE_MANAGER:
            return build_middlemanager(context, MiddleManagerSettings(deep_storage=directory)).routes()
        case _:
            return build_broker(context, BrokerSettings()).routes()


def changing(role: NodeRole, directory: Path) -> list[str]:
    """Method and path of the routes that take something else than GET."""
    return [
        f"{method} {route.path}"
        for route in routes_of(role, directory)
        if isinstance(route, Route)
        for method in sorted((route.methods or set()) - {"GET", "HEAD"})
    ]
