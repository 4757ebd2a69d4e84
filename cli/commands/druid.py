"""`coord druid ROLE`: one process of a Druid cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.access import access_of, access_options
from cli.coordinator_options import leading_config, leading_options, print_plan
from cli.druid_properties import config_option
from cli.druid_types import CacheLocationType, CoordUrlType, LocationType, StrategiesType, TierBrokerType
from cli.http_options import http_access, http_limits, http_options
from cli.render import output_option
from cli.running import CommandFailedError, run
from coordserver.client import CredentialsError
from druidroles.coordination.access import CoordAccess
from druidroles.model.server import DEFAULT_TIER, DEFAULT_WORKER_CATEGORY, NodeRole

if TYPE_CHECKING:
    from druidroles.deepstorage import DeepStorageLocation
    from druidroles.metadata import MetadataLocation
    from druidroles.process import Role, RoleContext

F = TypeVar("F", bound=Callable[..., Any])
Build = Callable[["RoleContext"], "Role"]


def common(port: int, *, data_dir_required: bool = True) -> Callable[[F], F]:
    """The options of every role; `port` is Druid's default for it."""

    def add(function: F) -> F:
        for option in reversed(
            (
                config_option,
                click.option(
                    "--coord",
                    type=CoordUrlType(),
                    default="coord://127.0.0.1:2181/druid",
                    help="The coordination servers, and Druid's base path (druid.zk.paths.base).",
                ),
                click.option("--host", default="127.0.0.1", help="Where to listen, and how others reach it."),
                click.option("--port", type=click.IntRange(0, 65535), default=port, help="0: a free one."),
                click.option(
                    "--data-dir", type=click.Path(path_type=Path), required=data_dir_required, help="One process each."
                ),
                click.option(
                    "--session-timeout",
                    type=click.FloatRange(min=0.1, max=86_400),
                    default=10.0,
                    help="Seconds without contact after which the process counts as gone.",
                ),
                access_options("--coord", "--coord-auth"),
                http_options,
                click.option(
                    "--coord-acl",
                    is_flag=True,
                    help="Let only holders of the same credentials touch what is created (druid.zk.service.acl).",
                ),
            )
        ):
            function = option(function)
        return function

    return add


def _deep_storage_location(text: str) -> DeepStorageLocation:
    from druidroles.deepstorage import parse_deep_storage_location

    return parse_deep_storage_location(text)


def _metadata_location(text: str) -> MetadataLocation:
    from druidroles.metadata import parse_metadata_location

    return parse_metadata_location(text)


deep_storage = click.option(
    "--deep-storage",
    type=LocationType(_deep_storage_location, ("obstore",)),
    required=True,
    help="Where segments are kept for good: a directory that all machines see, or s3://BUCKET/PREFIX.",
)
metadata = click.option(
    "--metadata",
    type=LocationType(_metadata_location, ("psycopg", "psycopg_pool")),
    required=True,
    help="The metadata store: an SQLite file, or postgresql://HOST/DATABASE for several machines.",
)


accept_empty = click.option(
    "--accept-empty-metadata",
    "accept_empty",
    is_flag=True,
    help="Lead on an empty metadata store although the coordination tree knows of data, which is then forgotten.",
)


@click.group("druid")
def command() -> None:
    """Start one process of a Druid cluster; SIGTERM ends it within 10 s."""


def _access(options: dict[str, Any]) -> CoordAccess:
    try:
        access = access_of(options)
    except CredentialsError as fault:
        raise CommandFailedError(str(fault)) from None
    identified = bool(access.auth) or (access.tls is not None and access.tls.cert is not None)
    if options["coord_acl"] and not identified:
        raise click.UsageError("--coord-acl without credentials (--coord-auth, --coord-cert) would lock everybody out")
    return CoordAccess(tls=access.tls, auth=access.auth, creator_acl=options["coord_acl"])


def _run(role: NodeRole, build: Build, options: dict[str, Any], also: Mapping[NodeRole, Build] | None = None) -> None:
    from coordserver.core.model.errors import CoordError
    from druidroles.http.serve import HttpLimits
    from druidroles.metadata import MetadataError
    from druidroles.process import RoleSettings, StartError, run_role

    settings = RoleSettings(
        role=role,
        coord=options["coord"],
        host=options["host"],
        port=options["port"],
        data_dir=options["data_dir"].absolute(),
        session_timeout_s=options["session_timeout"],
        service=options.get("service", ""),
        access=_access(options),
        http=http_access(options),
        http_limits=HttpLimits(**http_limits(options)),
    )
    run(lambda: run_role(settings, build, also=also), StartError, CoordError, MetadataError)


@command.command("coordinator")
@common(8081, data_dir_required=False)
@metadata
@accept_empty
@leading_options
@click.option("--as-overlord", is_flag=True, help="Be an Overlord too, in the same process and on the same port.")
def coordinator(
    metadata: MetadataLocation,
    accept_empty: bool,
    dry_run: bool,
    output: str | None,
    as_overlord: bool,
    **options: Any,
) -> None:
    """Decide which Historical loads which segment."""
    from druidroles.coordinator.role import CoordinatorSettings, build

    config = leading_config(options)
    if dry_run:
        print_plan(options["coord"], _access(options), metadata, config, output)
        return
    if options["data_dir"] is None:
        raise click.UsageError("Missing option '--data-dir'.")
    settings = CoordinatorSettings(metadata=metadata, accept_empty=accept_empty, leading=config)
    also: dict[NodeRole, Build] = {}
    if as_overlord:
        from druidroles.overlord.role import OverlordSettings
        from druidroles.overlord.role import build as build_overlord

        overlord_settings = OverlordSettings(metadata=metadata, accept_empty=accept_empty)
        also[NodeRole.OVERLORD] = partial(build_overlord, settings=overlord_settings)
    _run(NodeRole.COORDINATOR, partial(build, settings=settings), options, also)


@command.command("explain")
@click.argument("segment_id", metavar="ID")
@click.option("--coordinator", default="http://127.0.0.1:8081", help="The URL of a Coordinator, or of the Router.")
@output_option
def explain(segment_id: str, coordinator: str, output: str | None) -> None:
    """Tell why a segment is not loaded: its rule, and what each server has against it."""
    from cli.explain import explain as explain_segment

    explain_segment(segment_id, coordinator, output)


@command.command("overlord")
@common(8090)
@metadata
@accept_empty
@click.option(
    "--parallel-ratio",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    help="Part of a worker's slots that index_parallel tasks may take (parallelIndexTaskSlotRatio).",
)
def overlord(metadata: MetadataLocation, accept_empty: bool, parallel_ratio: float, **options: Any) -> None:
    """Take tasks, give them to MiddleManagers, and publish what they build."""
    from druidroles.overlord.role import OverlordSettings, build

    settings = OverlordSettings(metadata=metadata, accept_empty=accept_empty, parallel_ratio=parallel_ratio)
    _run(NodeRole.OVERLORD, partial(build, settings=settings), options)


@command.command("historical")
@common(8083)
@deep_storage
@click.option("--max-size", type=click.IntRange(min=0), help="Bytes of segments it may hold; default: all locations'.")
@click.option(
    "--cache-location",
    "locations",
    type=CacheLocationType(),
    multiple=True,
    help="Where segments are kept, and how many bytes of them; repeatable. Default: the data directory. With :5% "
    "behind it that much of its disk stays free (freeSpacePercent).",
)
@click.option(
    "--cache-selector",
    type=click.Choice(["leastBytesUsed", "roundRobin", "random", "mostAvailableSize"]),
    default="leastBytesUsed",
    help="Which location takes the next segment.",
)
@click.option("--load-threads", type=click.IntRange(min=1), default=2, help="Segments loaded at a time.")
@click.option("--tier", default=DEFAULT_TIER, help="Load rules name tiers.")
@click.option("--priority", type=int, default=0, help="Brokers prefer higher ones.")
def historical(
    deep_storage: DeepStorageLocation,
    max_size: int | None,
    locations: tuple[tuple[Path, int, float], ...],
    cache_selector: str,
    load_threads: int,
    tier: str,
    priority: int,
    **options: Any,
) -> None:
    """Load segments and answer queries over them."""
    from druidroles.historical.locations import CacheLocation, Selector
    from druidroles.historical.role import HistoricalSettings, build

    settings = HistoricalSettings(
        deep_storage=deep_storage,
        max_size=max_size,
        cache_locations=tuple(CacheLocation(path, size, percent) for path, size, percent in locations),
        cache_selector=Selector(cache_selector),
        load_threads=load_threads,
        tier=tier,
        priority=priority,
    )
    _run(NodeRole.HISTORICAL, partial(build, settings=settings), options)


@command.command("middlemanager")
@common(8091)
@deep_storage
@click.option("--capacity", type=click.IntRange(min=1), default=2, help="Tasks at a time.")
@click.option("--task-port", type=click.IntRange(0, 65535), default=8100, help="First port of tasks; 0: free ones.")
@click.option(
    "--input-dir",
    "input_dirs",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A directory that tasks may read local input from, with what is below it; repeatable. Default: none.",
)
@click.option("--category", default=DEFAULT_WORKER_CATEGORY, help="Select strategies may name categories.")
@click.option(
    "--restore-tasks/--no-restore-tasks",
    default=True,
    help="Whether tasks that run at a stop begin anew at the next start, or fail (restoreTasksOnRestart).",
)
def middlemanager(
    deep_storage: DeepStorageLocation,
    capacity: int,
    task_port: int,
    input_dirs: tuple[Path, ...],
    category: str,
    restore_tasks: bool,
    **options: Any,
) -> None:
    """Run tasks, each in a process of its own. With --port 0 it keeps the port of its first start."""
    from druidroles.middlemanager.kept_port import kept_port
    from druidroles.middlemanager.role import MiddleManagerSettings, build

    settings = MiddleManagerSettings(
        deep_storage=deep_storage,
        capacity=capacity,
        task_port=task_port,
        category=category,
        input_dirs=tuple(path.absolute() for path in input_dirs),
        restore=restore_tasks,
    )
    options["port"] = options["port"] or kept_port(options["data_dir"], options["host"])
    _run(NodeRole.MIDDLE_MANAGER, partial(build, settings=settings), options)


@command.command("broker")
@common(8082)
@click.option("--service", default="druid/broker", help="The service name by which Routers tell Brokers apart.")
@click.option(
    "--select-tier",
    type=click.Choice(["highestPriority", "lowestPriority", "custom", "preferred"]),
    default="highestPriority",
    help="Which of the servers of a segment are asked first (druid.broker.select.tier).",
)
@click.option(
    "--select-priority", "priorities", type=int, multiple=True, help="For custom: the best first; repeatable."
)
@click.option("--preferred-tier", default="", help="For preferred.")
@click.option("--preferred-lowest", is_flag=True, help="For preferred: lower priorities first.")
@click.option(
    "--balancer",
    "broker_balancer",
    type=click.Choice(["connectionCount", "random"]),
    default="connectionCount",
    help="Which of those that are liked as much (druid.broker.balancer.type).",
)
@click.option("--watched-tier", "watched_tiers", multiple=True, help="See these tiers only; repeatable.")
@click.option("--ignored-tier", "ignored_tiers", multiple=True, help="Do not see these; repeatable.")
@click.option("--watched-data-source", "watched_data_sources", multiple=True, help="See these only; repeatable.")
@click.option(
    "--answer-memory",
    type=click.IntRange(min=1),
    default=512 << 20,
    show_default=True,
    help="Bytes of memory that one data server's answer may take, as estimated; beyond, a replica is asked.",
)
@click.option(
    "--answer-stall",
    type=click.FloatRange(min=0.1),
    default=15.0,
    show_default=True,
    help="Seconds without bytes, or at less than 8 KiB a second, after which a data server's answer is given up and "
    "a replica is asked.",
)
@click.option("--watch-tasks/--no-watch-tasks", default=True, help="Whether tasks are asked for what they serve.")
def broker(
    select_tier: str,
    priorities: tuple[int, ...],
    preferred_tier: str,
    preferred_lowest: bool,
    broker_balancer: str,
    watched_tiers: tuple[str, ...],
    ignored_tiers: tuple[str, ...],
    watched_data_sources: tuple[str, ...],
    watch_tasks: bool,
    answer_memory: int,
    answer_stall: float,
    **options: Any,
) -> None:
    """Split queries over the servers that hold the segments, and merge the answers."""
    from druidroles.broker.answer import AnswerLimits
    from druidroles.broker.role import BrokerSettings, build
    from druidroles.broker.tier_selector import Balancer, TierSelector, TierStrategy, Watched

    if watched_tiers and ignored_tiers:
        raise click.UsageError("--watched-tier and --ignored-tier exclude each other")
    if select_tier == "custom" and not priorities:
        raise click.UsageError("--select-tier custom needs --select-priority")
    if select_tier == "preferred" and not preferred_tier:
        raise click.UsageError("--select-tier preferred needs --preferred-tier")
    settings = BrokerSettings(
        tiers=TierSelector(
            strategy=TierStrategy(select_tier),
            priorities=priorities,
            tier=preferred_tier,
            lowest_first=preferred_lowest,
        ),
        balancer=Balancer(broker_balancer),
        watched=Watched(
            tiers=frozenset(watched_tiers) or None,
            ignored_tiers=frozenset(ignored_tiers),
            data_sources=frozenset(watched_data_sources) or None,
            tasks=watch_tasks,
        ),
        answers=AnswerLimits(memory=answer_memory, stall_s=answer_stall),
    )
    _run(NodeRole.BROKER, partial(build, settings=settings), options)


@command.command("router")
@common(8888)
@click.option(
    "--tier-broker",
    "tier_brokers",
    type=TierBrokerType(),
    multiple=True,
    help="Data of this tier is asked of Brokers of this service; repeatable, the most important tier first.",
)
@click.option("--default-broker", default="druid/broker", help="The service of the Brokers for everything else.")
@click.option(
    "--strategies",
    type=StrategiesType(),
    default='[{"type": "timeBoundary"}, {"type": "priority"}]',
    help="How a service is chosen before the rules are asked (druid.router.strategies).",
)
def router(tier_brokers: tuple[tuple[str, str], ...], default_broker: str, strategies: Any, **options: Any) -> None:
    """One address for everything: proxy to Brokers and to the leading Coordinator and Overlord."""
    from druidroles.router.broker_strategies import Tiers
    from druidroles.router.role import RouterSettings, build

    services = dict(tier_brokers) or {DEFAULT_TIER: default_broker}
    settings = RouterSettings(tiers=Tiers(services, default_broker), strategies=strategies)
    _run(NodeRole.ROUTER, partial(build, settings=settings), options)
