"""What an operator's day costs: `python -m benchmarks.druid.operations [queryable|crash|restart|lost-tier]`.

Each starts a cluster of real processes, works on the shipped data (32 segments) and tells one row:

- queryable: from the publication of a new datasource until a query finds the first row, and all of them;
- crash: from the SIGKILL of a Historical to the first order to load a segment that has no copy left;
- restart: three Historicals restarted in turn under queries: bytes that moved, queries that failed;
- lost-tier: both Historicals of one of two tiers killed under queries, then started again: the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import click
import httpx2
import trio

from benchmarks.druid.processes import ROWS, Processes, whole_cluster
from cli.render import output_option, print_json, print_table
from coordserver.client import WatchKind

PUBLISHED = "/druid/coord/published"
LOAD_QUEUE = "/druid/loadQueue"
DATA = "flights"
ASKING = 2  # clients at a time
AFTER_S = 3.0  # in which what was done may still have consequences

Row = dict[str, Any]


@attrs.define(eq=False)
class Observed:
    """What happened meanwhile: queries by their outcome, and the segments whose load was ordered."""

    queries: Counter[str] = attrs.field(factory=Counter)
    ordered: list[str] = attrs.field(factory=list)

    def row(self, sizes: dict[str, int]) -> Row:
        """As members of a row."""
        return {
            "queries": self.queries.total(),
            "failed": self.queries.total() - self.queries["right"],
            "loads_ordered": len(self.ordered),
            "bytes_moved": sum(sizes[segment_id] for segment_id in self.ordered),
        }


@asynccontextmanager
async def observed(cluster: Processes) -> AsyncIterator[Observed]:
    """Ask without a pause, and watch every load queue, while the block runs."""
    seen = Observed()

    async def ask() -> None:
        while True:
            try:
                right = await cluster.count(DATA) == ROWS
                seen.queries["right" if right else "wrong"] += 1
            except (httpx2.HTTPError, ValueError) as fault:
                seen.queries[type(fault).__name__] += 1

    async with cluster.zk.watch(LOAD_QUEUE, recursive=True) as events, trio.open_nursery() as nursery:

        async def watch() -> None:
            async for event in events:
                parts = event.path.removeprefix(LOAD_QUEUE + "/").split("/")
                if event.kind is WatchKind.CREATED and len(parts) == len(("server", "segment")):
                    seen.ordered.append(parts[1])

        nursery.start_soon(watch)
        for _ in range(ASKING):
            nursery.start_soon(ask)
        yield seen
        await trio.sleep(AFTER_S)
        nursery.cancel_scope.cancel(reason="seen")


async def queryable(session_timeout_s: float, runs: int) -> list[Row]:
    """Published to queryable, with each run's task in a datasource of its own."""
    rows = []
    async with whole_cluster((), (), session_timeout_s=session_timeout_s) as cluster:
        for run in range(1, runs + 1):
            name = f"{DATA}_{run}"
            async with cluster.zk.watch(PUBLISHED) as events:
                await cluster.submit(name)
                with trio.fail_after(60):
                    await anext(aiter(events))
            begun = trio.current_time()

            async def found(name: str = name, rows: int = 1) -> bool:
                return await cluster.count(name) >= rows

            await cluster.until(found)
            first_s = trio.current_time() - begun
            await cluster.until(lambda name=name: found(name, ROWS))  # type: ignore[misc]
            all_s = trio.current_time() - begun
            rows.append({"what": "queryable", "run": run, "first_row_s": round(first_s, 3), "all_s": round(all_s, 3)})
            await cluster.loaded(name)
    return rows


async def crash(session_timeout_s: float, runs: int) -> list[Row]:
    """A Historical that holds the only copy of half of the segments is killed, `runs` times."""
    rows = []
    async with whole_cluster((), (), session_timeout_s=session_timeout_s) as cluster:
        await cluster.set_rules({"_default_tier": 1})
        await cluster.submit(DATA)
        await cluster.loaded(DATA)
        for run in range(1, runs + 1):
            async with cluster.zk.watch(LOAD_QUEUE, recursive=True) as events:
                victim = cluster.procs["historical-1"]
                begun = trio.current_time()
                victim.process.kill()
                with trio.fail_after(session_timeout_s + 60):
                    async for event in events:
                        if event.kind is WatchKind.CREATED:
                            break
                ordered_s = trio.current_time() - begun
            await cluster.loaded(DATA)
            rows.append(
                {
                    "what": "crash",
                    "run": run,
                    "session_timeout_s": session_timeout_s,
                    "first_order_s": round(ordered_s, 2),
                    "all_served_s": round(trio.current_time() - begun, 2),
                }
            )
            await cluster.start("historical-1", "historical", "--session-timeout", str(session_timeout_s))
            await cluster.loaded(DATA)
            await trio.sleep(AFTER_S)  # what balances between the two
            await cluster.loaded(DATA)
    return rows


async def restart(session_timeout_s: float, runs: int) -> list[Row]:
    """Three Historicals in turn, two copies of each segment."""
    rows = []
    timeout = ("--session-timeout", str(session_timeout_s))
    async with whole_cluster((), (), (), session_timeout_s=session_timeout_s) as cluster:
        await _settled(cluster, {"_default_tier": 2})
        for run in range(1, runs + 1):
            begun = trio.current_time()
            async with observed(cluster) as seen:
                for number in (1, 2, 3):
                    await cluster.terminate(f"historical-{number}")
                    await cluster.start(f"historical-{number}", "historical", *timeout)
                    await cluster.loaded(DATA)
            seconds = round(trio.current_time() - begun, 1)
            rows.append({"what": "restart", "run": run, "seconds": seconds, **seen.row(await cluster.sizes())})
    return rows


async def lost_tier(session_timeout_s: float, runs: int) -> list[Row]:
    """One copy in each of two tiers of two Historicals; one tier goes at once and comes back."""
    rows = []
    timeout = ("--session-timeout", str(session_timeout_s))
    hot = ("--tier", "hot", "--priority", "10")
    async with whole_cluster(hot, hot, (), (), session_timeout_s=session_timeout_s) as cluster:
        await _settled(cluster, {"hot": 1, "_default_tier": 1})
        sizes = await cluster.sizes()
        for run in range(1, runs + 1):
            begun = trio.current_time()
            async with observed(cluster) as gone:
                for name in ("historical-1", "historical-2"):
                    cluster.procs[name].process.kill()
                await trio.sleep(session_timeout_s)
            async with observed(cluster) as back:
                for name in ("historical-1", "historical-2"):
                    await cluster.start(name, "historical", *timeout, *hot)
                await cluster.loaded(DATA)
            seconds = round(trio.current_time() - begun, 1)
            row = {
                f"{key}_{when}": n for when, o in (("gone", gone), ("back", back)) for key, n in o.row(sizes).items()
            }
            rows.append({"what": "lost-tier", "run": run, "seconds": seconds, **row})
    return rows


async def _settled(cluster: Processes, replicants: dict[str, int]) -> None:
    """The data is in, and what was to be balanced is."""
    await cluster.set_rules(replicants)
    await cluster.submit(DATA)
    await cluster.loaded(DATA)
    await trio.sleep(AFTER_S)
    await cluster.loaded(DATA)


MEASURES: dict[str, Callable[[float, int], Awaitable[list[Row]]]] = {
    "queryable": queryable,
    "crash": crash,
    "restart": restart,
    "lost-tier": lost_tier,
}


@click.command()
@click.argument("names", nargs=-1, type=click.Choice(tuple(MEASURES)))
@click.option("--session-timeout", type=click.FloatRange(min=1), default=4.0, show_default=True)
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True)
@output_option
def main(names: tuple[str, ...], session_timeout: float, runs: int, output: str | None) -> None:
    """Measure and print; all of them where none is named."""
    for name in names or tuple(MEASURES):
        rows = trio.run(MEASURES[name], session_timeout, runs)
        if output == "json":
            for row in rows:
                print_json(row)
        else:
            print_table(name, rows)


if __name__ == "__main__":
    main()
