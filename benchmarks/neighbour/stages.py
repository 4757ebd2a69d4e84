"""What stands before the two clients: a coordination server, a role over it, or a Broker with two replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import trio
from authority import Authority
from made_segments import push_segment

from coordserver.client import Client, connect
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.payloads import dumps
from druidroles.deepstorage import LocalDeepStorage
from druidroles.lifeline import Lifeline
from druidroles.model.change_request import ChangeRequest
from druidroles.model.segment import DataSegment
from neighbour.processes import READY_S, Child, child, ready_port
from neighbour.scenarios import ROWS, Scenario, Stage

ANNOUNCED_S = 30.0
_POLL_S = 0.05


class Theatre:
    """The processes of one scenario. `victim` is the one whose memory counts; both clients speak to its `port`."""

    def __init__(self, directory: Path, lifeline: Lifeline, stack: AsyncExitStack) -> None:
        self.victim: Child
        self.port = 0
        self.polite_module = "neighbour.polite"
        self.authority: tuple[str, ...] = ()
        self._directory = directory
        self._lifeline = lifeline
        self._stack = stack
        self._coord_port = 0

    async def start(self, name: str, module: str, *arguments: str, descriptors: int = 0) -> Child:
        """A process that lives as long as the scenario."""
        return await self._stack.enter_async_context(
            child(
                name,
                module,
                *arguments,
                directory=self._directory,
                lifeline=self._lifeline,
                descriptors=descriptors,
            )
        )

    async def build(self, scenario: Scenario) -> None:
        """Start what the scenario needs; `port` answers when this returns."""
        await self._server(scenario)
        if scenario.stage is Stage.BROKER:
            await self._role("broker")
        elif scenario.stage is Stage.HISTORICAL:
            await self._role("historical", "--deep-storage", str(self._directory / "deep-storage"))
        elif scenario.stage is Stage.SICK_REPLICA:
            await self._replicas(scenario.sickness)
            await self._role("broker")

    async def _server(self, scenario: Scenario) -> None:
        options = list(scenario.options)
        if scenario.stage is Stage.SERVER_TLS:
            authority = Authority(self._directory / "certificates")
            certificate = str(authority.server().pem)
            options += ["--tls-cert", certificate, "--tls-key", certificate]
            self.authority = (str(authority.pem),)
        options += ["--listen", "127.0.0.1:0", "--data-dir", str(self._directory / "data")]
        self.victim = await self.start("server", "cli", "server", *options, descriptors=scenario.descriptors)
        self.port = self._coord_port = await ready_port(self.victim, ["READY", "server"])

    async def _role(self, kind: str, *options: str) -> None:
        coord = f"coord://127.0.0.1:{self._coord_port}/druid"
        where = ("--coord", coord, "--port", "0", "--data-dir", str(self._directory / kind))
        self.victim = await self.start(kind, "cli", "druid", kind, *where, *options)
        self.port = await ready_port(self.victim, ["READY", kind])
        self.polite_module = "neighbour.polite_http"

    async def _replicas(self, sickness: str) -> None:
        """A Historical that serves a segment, and a sick one that announces the same."""
        deep_storage = self._directory / "deep-storage"
        deep_storage.mkdir()
        segment = push_segment(LocalDeepStorage(deep_storage), self._directory, rows=ROWS)
        await self._role("historical", "--deep-storage", str(deep_storage))
        async with connect(f"127.0.0.1:{self._coord_port}") as zk:
            await _load(zk, f"127.0.0.1:{self.port}", segment)
        described = self._directory / "segment.json"
        described.write_bytes(dumps(segment.to_json()))
        arguments = (str(self._coord_port), sickness, str(described))
        sick = await self.start("sick-historical", "neighbour.sick_historical", *arguments)
        await sick.event("ready", READY_S)


async def _load(zk: Client, host_port: str, segment: DataSegment) -> None:
    """Order a Historical to load a segment, as a Coordinator does, and wait until it is announced."""
    paths = DruidPaths()
    await zk.create(paths.load_request(host_port, segment.id), dumps(ChangeRequest.load(segment).to_json()))
    with trio.fail_after(ANNOUNCED_S):
        while not await zk.children(paths.segments_of(host_port)):  # noqa: ASYNC110 - once, while nothing is measured
            await trio.sleep(_POLL_S)


@asynccontextmanager
async def theatre(scenario: Scenario, directory: Path) -> AsyncIterator[Theatre]:
    """The processes of a scenario, ended after the block. Raises ChildError if one does not start."""
    with closing(Lifeline()) as lifeline:
        async with AsyncExitStack() as stack:
            found = Theatre(directory, lifeline, stack)
            await found.build(scenario)
            yield found
