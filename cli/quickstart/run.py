"""The quickstart from the first check to the last goodbye."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import trio
from rich.progress import Progress

from cli.quickstart.layout import INPUT, Layout
from cli.quickstart.processes import STOP_S, Child, Children, check_ports
from cli.quickstart.show import Screen, flatten
from cli.quickstart.work import EXAMPLES, ClusterClient, copy_data, ingestion_spec
from druidroles.process import claim_data_dir

STOP_ALL_S = 2 * STOP_S + 2  # the roles, then the server


async def run(layout: Layout, screen: Screen, *, keep: bool) -> None:
    """Start everything, do the main job, show the answers; then stop, or wait for Ctrl-C where `keep`. A process that
    dies meanwhile is started again.

    Raises LayoutError, PortsInUseError, StartError or OSError before anything was started, ChildFailedError,
    WorkFailedError or trio.TooSlowError after; whatever happens, no child is left.
    """
    with claim_data_dir(layout.data_dir):
        check_ports(layout.ports)
        log_dir = layout.data_dir / "log"
        log_dir.mkdir(exist_ok=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope, screen)
            children = Children(log_dir, screen.say)
            try:
                await _start(layout, screen, children, nursery)
                await _work(layout, screen)
                if keep:
                    screen.addresses(layout)
                    screen.say("the cluster runs until Ctrl-C")
                    await trio.sleep_forever()
            finally:
                with (
                    screen.step("stopping every process"),
                    trio.CancelScope(shield=True, deadline=trio.current_time() + STOP_ALL_S),
                ):
                    await children.stop()
            nursery.cancel_scope.cancel(reason="the quickstart is done")


async def _stop_on_signal(scope: trio.CancelScope, screen: Screen) -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            screen.say(f"{signal.Signals(number).name}: stopping")
            scope.cancel(reason="a signal")
            return


async def _start(layout: Layout, screen: Screen, children: Children, nursery: trio.Nursery) -> None:
    with screen.step("starting the coordination server"):
        await (await children.start(layout.server, nursery)).wait_ready()
    with screen.step(f"starting {len(layout.roles)} Druid processes") as progress:
        task = progress.task_ids[0]
        progress.update(task, total=len(layout.roles))
        async with trio.open_nursery() as starting:
            for spec in layout.roles:
                starting.start_soon(_await_ready, await children.start(spec, nursery), progress)


async def _await_ready(child: Child, progress: Progress) -> None:
    await child.wait_ready()
    progress.advance(progress.task_ids[0])


async def _work(layout: Layout, screen: Screen) -> None:
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx2.AsyncClient(timeout=60, trust_env=False))
        cluster = ClusterClient(layout.url("router"), layout.url("overlord"), http)
        base_dir = await trio.to_thread.run_sync(copy_data, Path(layout.data_dir) / INPUT)
        task_id = await cluster.submit(ingestion_spec(base_dir))
        with screen.step(f"running the ingestion task {task_id}"):
            rows = await cluster.wait_task(task_id)
        kept = int(rows["processed"]) + int(rows["processedWithError"])
        screen.say(f"{kept:,} rows kept, {rows['processedWithError']:,} of them with a value that became null")
        with screen.step("loading the segments on the Historicals") as progress:

            def show(loaded: int, used: int) -> None:
                progress.update(progress.task_ids[0], completed=loaded, total=used)

            segments = await cluster.wait_loaded(kept, show)
        screen.say(f"{segments} segments are loaded and queryable")
        for title, query in EXAMPLES:
            answer = await cluster.query(query)
            screen.answer(title, flatten(str(query["queryType"]), answer))
