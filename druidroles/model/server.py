"""Who serves what: the payloads by which processes announce themselves (DruidServerMetadata, DiscoveryDruidNode,
Worker).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

import attrs

from druidroles.model.decode import (
    ModelError,
    as_object,
    get_bool,
    get_int,
    get_object,
    need_object,
    need_str,
    opt_str,
)
from druidroles.model.iso import format_iso, parse_iso

DEFAULT_TIER = "_default_tier"
DEFAULT_WORKER_CATEGORY = "_default_worker_category"
DATA_NODE_SERVICE = "dataNodeService"
WORKER_NODE_SERVICE = "workerNodeService"


class NodeRole(Enum):
    """A role. The name is that of its directory below internal-discovery, the value that in JSON (Druid's NodeRole)."""

    COORDINATOR = "coordinator"
    OVERLORD = "overlord"
    BROKER = "broker"
    HISTORICAL = "historical"
    MIDDLE_MANAGER = "middleManager"
    ROUTER = "router"
    PEON = "peon"
    INDEXER = "indexer"

    @property
    def service_name(self) -> str:
        """The service name Druid gives the role by default, such as `druid/middlemanager`."""
        return f"druid/{self.value.lower()}"


@attrs.frozen
class DruidServerMetadata:
    """What a segment-serving process announces of itself. `max_size` in bytes; `name` (host:port) names the znode."""

    name: str
    host: str | None = None
    host_and_tls_port: str | None = None
    max_size: int = 0
    type: str = "historical"
    tier: str = DEFAULT_TIER
    priority: int = 0

    @property
    def url(self) -> str:
        """Where it answers over HTTP."""
        return (
            f"https://{self.host_and_tls_port}"
            if self.host is None and self.host_and_tls_port
            else f"http://{self.host or self.name}"
        )

    @property
    def is_replication_target(self) -> bool:
        """Whether rules may put replicas there."""
        return self.type in ("historical", "bridge")

    @classmethod
    def from_json(cls, value: Any) -> DruidServerMetadata:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "server metadata")
        return cls(
            name=need_str(obj, "name"),
            host=opt_str(obj, "host"),
            host_and_tls_port=opt_str(obj, "hostAndTlsPort"),
            max_size=get_int(obj, "maxSize", 0),
            type=opt_str(obj, "type") or "historical",
            tier=opt_str(obj, "tier") or DEFAULT_TIER,
            priority=get_int(obj, "priority", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "name": self.name,
            "host": self.host,
            "hostAndTlsPort": self.host_and_tls_port,
            "maxSize": self.max_size,
            "type": self.type,
            "tier": self.tier,
            "priority": self.priority,
        }


@attrs.frozen
class DruidNode:
    """A process' address. Ports are -1 where there is none."""

    service: str
    host: str
    plaintext_port: int = -1
    tls_port: int = -1
    bind_on_host: bool = False

    @property
    def host_and_port(self) -> str:
        """`host:port`, the plaintext port where there is one; the identity of the process in the tree."""
        host = f"[{self.host}]" if ":" in self.host and not self.host.startswith("[") else self.host
        return f"{host}:{self.plaintext_port if self.plaintext_port >= 0 else self.tls_port}"

    @property
    def url(self) -> str:
        """Where it answers over HTTP."""
        return f"{'http' if self.plaintext_port >= 0 else 'https'}://{self.host_and_port}"

    @classmethod
    def from_json(cls, obj: Mapping[str, Any]) -> DruidNode:
        """Read one; raises ModelError naming the field at fault."""
        plain = get_int(obj, "plaintextPort", get_int(obj, "port", -1))
        return cls(
            service=need_str(obj, "service"),
            host=need_str(obj, "host"),
            plaintext_port=plain if get_bool(obj, "enablePlaintextPort", True) else -1,
            tls_port=get_int(obj, "tlsPort", -1),
            bind_on_host=get_bool(obj, "bindOnHost", False),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it; `port` is its deprecated twin of plaintextPort, always -1."""
        return {
            "service": self.service,
            "host": self.host,
            "bindOnHost": self.bind_on_host,
            "plaintextPort": self.plaintext_port,
            "port": -1,
            "tlsPort": self.tls_port,
            "enablePlaintextPort": self.plaintext_port >= 0,
            "enableTlsPort": self.tls_port >= 0,
        }


@attrs.frozen
class DiscoveryDruidNode:
    """One role of one process, as announced below internal-discovery. Equality ignores the start time, as in Druid."""

    node: DruidNode
    role: NodeRole
    services: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict, hash=False)
    start_time_ms: int = attrs.field(default=0, eq=False)
    available_processors: int = attrs.field(default=1, eq=False)
    total_memory: int = attrs.field(default=0, eq=False)

    @property
    def name(self) -> str:
        """host:port, the znode's name."""
        return self.node.host_and_port

    @property
    def url(self) -> str:
        """Where it answers over HTTP."""
        return self.node.url

    @classmethod
    def from_json(cls, value: Any) -> DiscoveryDruidNode:
        """Read one; services that are not objects are skipped. Raises ModelError naming the field at fault."""
        obj = as_object(value, "discovery node")
        kind = need_str(obj, "nodeType")
        try:
            role = NodeRole(kind)
        except ValueError:
            raise ModelError(f"nodeType {kind!r} is not a role") from None
        services = get_object(obj, "services") or {}
        start = opt_str(obj, "startTime")
        return cls(
            node=DruidNode.from_json(need_object(obj, "druidNode")),
            role=role,
            services={name: service for name, service in services.items() if isinstance(service, dict)},
            start_time_ms=parse_iso(start) if start else 0,
            available_processors=get_int(obj, "availableProcessors", 1),
            total_memory=get_int(obj, "totalMemory", 0),
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "druidNode": self.node.to_json(),
            "nodeType": self.role.value,
            "services": {name: {"type": name, **service} for name, service in self.services.items()},
            "startTime": format_iso(self.start_time_ms),
            "availableProcessors": self.available_processors,
            "totalMemory": self.total_memory,
        }


def data_node_service(metadata: DruidServerMetadata) -> dict[str, Any]:
    """The body of the `dataNodeService` that goes with a server's metadata."""
    return {
        "type": DATA_NODE_SERVICE,
        "tier": metadata.tier,
        "maxSize": metadata.max_size,
        "serverType": metadata.type,
        "priority": metadata.priority,
    }


@attrs.frozen
class Worker:
    """A MiddleManager as the Overlord sees it. `host` is host:port; an empty version means disabled."""

    host: str
    ip: str = "127.0.0.1"
    capacity: int = 1
    version: str = "0"
    category: str = DEFAULT_WORKER_CATEGORY
    scheme: str = "http"

    @property
    def enabled(self) -> bool:
        """Whether it takes new tasks."""
        return self.version != ""

    @property
    def url(self) -> str:
        """Where it answers over HTTP."""
        return f"{self.scheme}://{self.host}"

    @classmethod
    def from_json(cls, value: Any) -> Worker:
        """Read one; raises ModelError naming the field at fault."""
        obj = as_object(value, "worker")
        version = opt_str(obj, "version")
        return cls(
            host=need_str(obj, "host"),
            ip=opt_str(obj, "ip") or "",
            capacity=_capacity(obj),
            version="0" if version is None else version,
            category=opt_str(obj, "category") or DEFAULT_WORKER_CATEGORY,
            scheme=opt_str(obj, "scheme") or "http",
        )

    def to_json(self) -> dict[str, Any]:
        """The object as Druid writes it."""
        return {
            "scheme": self.scheme,
            "host": self.host,
            "ip": self.ip,
            "capacity": self.capacity,
            "version": self.version,
            "category": self.category,
        }

    def node_service(self) -> dict[str, Any]:
        """The body of the `workerNodeService` in its discovery node."""
        return {
            "type": WORKER_NODE_SERVICE,
            "ip": self.ip,
            "capacity": self.capacity,
            "version": self.version,
            "category": self.category,
        }


def _capacity(obj: Mapping[str, Any]) -> int:
    """A worker's number of slots; raises ModelError where it is negative or no integer."""
    capacity = get_int(obj, "capacity", 0)
    if capacity < 0:
        raise ModelError("capacity is negative")
    return capacity
