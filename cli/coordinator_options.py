"""The options of `coord druid coordinator` beyond every role's, and its dry run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.render import output_option, print_json, print_table
from cli.running import run
from druidroles.balancer.strategies import STRATEGIES
from druidroles.model.decode import ModelError
from druidroles.model.period import Period

if TYPE_CHECKING:
    from druidroles.coordination.access import CoordAccess
    from druidroles.coordination.url import CoordUrl
    from druidroles.coordinator.settings import TermSettings

F = TypeVar("F", bound=Callable[..., Any])


class DurationType(click.ParamType[int]):
    """A duration as Druid writes it, PT60S or P90D; in milliseconds."""

    name = "duration"
    takes_numbers = True

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The milliseconds, or a usage error."""
        if isinstance(value, int):
            return value
        try:
            period = Period.parse(str(value))
        except ModelError as fault:
            self.fail(str(fault), param, ctx)
        if period.months:
            self.fail(f"{value!r} is not a duration of a fixed length, such as PT60S or P90D", param, ctx)
        return period.about_ms


DURATION = DurationType()
_OPTIONS = (
    click.option("--period", type=DURATION, default="PT60S", help="Look at everything again (coordinator.period)."),
    click.option("--load-timeout", type=DURATION, default="PT15M", help="For one load (coordinator.load.timeout)."),
    click.option("--balancer", type=click.Choice(STRATEGIES), default="cost", help="How places are chosen."),
    click.option("--kill/--no-kill", default=False, help="Delete for good what has long been unused (kill.on)."),
    click.option("--kill-period", type=DURATION, default="PT1800S", help="How often (kill.period)."),
    click.option("--kill-retain", type=DURATION, default="P90D", help="Keep what ended later (durationToRetain)."),
    click.option("--kill-buffer", type=DURATION, default="P30D", help="Unused at least for this (bufferPeriod)."),
    click.option("--kill-max-segments", type=click.IntRange(min=1), default=100, help="Of one task (maxSegments)."),
    click.option("--kill-max-interval", type=DURATION, default="P30D", help="Of one task (maxInterval)."),
    click.option("--dry-run", is_flag=True, help="Print what would be ordered now, and end; nothing is written."),
    output_option,
)


def leading_options(function: F) -> F:
    """The options."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def leading_config(options: dict[str, Any]) -> TermSettings:
    """What they say; taken out of `options`."""
    from druidroles.coordinator.duties.kill import KillConfig
    from druidroles.coordinator.settings import TermSettings

    return TermSettings(
        period_s=options.pop("period") / 1000,
        load_timeout_s=options.pop("load_timeout") / 1000,
        balancer=options.pop("balancer"),
        kill=KillConfig(
            on=options.pop("kill"),
            period_s=options.pop("kill_period") / 1000,
            duration_to_retain_ms=options.pop("kill_retain"),
            buffer_period_ms=options.pop("kill_buffer"),
            max_segments=options.pop("kill_max_segments"),
            max_interval_ms=options.pop("kill_max_interval"),
        ),
    )


def print_plan(coord: CoordUrl, access: CoordAccess, metadata: Any, config: TermSettings, output: str | None) -> None:
    """What a Coordinator would order now."""
    from coordserver.core.model.errors import CoordError
    from druidroles.coordination.paths import DruidPaths
    from druidroles.coordinator.dry_run import dry_run, rows
    from druidroles.coordinator.role import opened_store
    from druidroles.metadata import MetadataError
    from druidroles.model.decode import ModelError
    from druidroles.process import StartError

    async def main() -> None:
        if isinstance(metadata, Path) and not metadata.is_file():
            raise StartError(f"there is no metadata store {metadata}")
        async with (
            access.connect(coord.servers, session_timeout=10, name="coordinator --dry-run") as zk,
            opened_store(metadata) as store,
        ):
            found = list(rows(await dry_run(zk, DruidPaths(coord.base), store, config)))
        if output == "json":
            for row in found:
                print_json(row)
        elif found:
            print_table(f"{len(found)} orders, none of them carried out", found)
        else:
            click.echo("nothing to do")

    run(main, StartError, CoordError, MetadataError, ModelError)
