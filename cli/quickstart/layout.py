"""Which processes the quickstart starts, on which ports, with which files. Pure."""

from __future__ import annotations

from pathlib import Path

import attrs

HOST = "127.0.0.1"
OFFSET_STEP = 1000
PORT_MAX = 65535

# Druid's default ports; a second instance of a role is 100 higher (Druid documentation, "Ports").
SERVER_PORT = 2181
COORDINATOR_PORT = 8081
BROKER_PORT = 8082
HISTORICAL_PORT = 8083
OVERLORD_PORT = 8090
MIDDLE_MANAGER_PORT = 8091
TASK_PORT = 8100
ROUTER_PORT = 8888
SECOND_INSTANCE = 100
TASK_CAPACITY = 2
INPUT = "input"  # below the data directory; tasks read local input from there alone


class LayoutError(ValueError):
    """The layout asked for cannot be; the message is one line."""


@attrs.frozen
class ProcessSpec:
    """One child process: `arguments` follow `coord`; it says READY when it serves on `port`."""

    name: str
    arguments: tuple[str, ...]
    port: int

    @property
    def url(self) -> str:
        """Where it is reached."""
        scheme = "coord" if self.name == "server" else "http"
        return f"{scheme}://{HOST}:{self.port}"


@attrs.frozen
class Layout:
    """The whole cluster: the coordination server, then the roles."""

    data_dir: Path
    server: ProcessSpec
    roles: tuple[ProcessSpec, ...]
    task_ports: tuple[int, ...]

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port that must be free."""
        return (self.server.port, *(role.port for role in self.roles), *self.task_ports)

    def url(self, name: str) -> str:
        """The address of one process."""
        return next(spec.url for spec in (self.server, *self.roles) if spec.name == name)


def plan(data_dir: Path, port_offset: int = 0, log_level: str = "info") -> Layout:
    """The layout for a data directory and an offset; LayoutError if the offset is not one."""
    if port_offset < 0 or port_offset % OFFSET_STEP:
        raise LayoutError(f"--port-offset {port_offset}: must be a multiple of {OFFSET_STEP}, 0 or more")
    if ROUTER_PORT + port_offset > PORT_MAX:
        raise LayoutError(f"--port-offset {port_offset}: moves port {ROUTER_PORT} above {PORT_MAX}")
    server_port = SERVER_PORT + port_offset
    server = ProcessSpec(
        "server",
        (
            "--log-level",
            log_level,
            "server",
            "--listen",
            f"{HOST}:{server_port}",
            "--data-dir",
            str(data_dir / "server"),
        ),
        server_port,
    )
    deep_storage = ("--deep-storage", str(data_dir / "deep-storage"))
    metadata = ("--metadata", str(data_dir / "metadata.sqlite"))

    def role(name: str, kind: str, port: int, *more: str) -> ProcessSpec:
        coord = f"coord://{HOST}:{server_port}/druid"
        common = (
            "--coord",
            coord,
            "--host",
            HOST,
            "--port",
            str(port + port_offset),
            "--data-dir",
            str(data_dir / name),
        )
        return ProcessSpec(name, ("--log-level", log_level, "druid", kind, *common, *more), port + port_offset)

    task_port = TASK_PORT + port_offset
    peons = ("--input-dir", str(data_dir / INPUT), "--capacity", str(TASK_CAPACITY), "--task-port", str(task_port))
    roles = (
        role("coordinator", "coordinator", COORDINATOR_PORT, *metadata),
        role("overlord", "overlord", OVERLORD_PORT, *metadata),
        role("historical", "historical", HISTORICAL_PORT, *deep_storage),
        role("historical-2", "historical", HISTORICAL_PORT + SECOND_INSTANCE, *deep_storage),
        role("middlemanager", "middlemanager", MIDDLE_MANAGER_PORT, *deep_storage, *peons),
        role("broker", "broker", BROKER_PORT),
        role("router", "router", ROUTER_PORT),
        role("coordinator-2", "coordinator", COORDINATOR_PORT + SECOND_INSTANCE, *metadata),
    )
    return Layout(data_dir, server, roles, tuple(range(task_port, task_port + TASK_CAPACITY)))
