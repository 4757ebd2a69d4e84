"""Druid's own common.runtime.properties and runtime.properties, as they are, as defaults of `coord druid ROLE`.

A key that this role understands becomes the value of its option; one of another role is passed over, since the common
file is for all; every other one is named in one warning line, unless its value says what is done here anyway. What
cannot be had (`druid.storage.type=hdfs`) is refused.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import attrs
import click

from cli.config_file import load_for_root
from coordserver.config.properties import parse_properties

log = logging.getLogger(__name__)

FILES = ("common.runtime.properties", "runtime.properties")
_TOML_SUFFIX = ".toml"


class PropertyError(ValueError):
    """A key has a value that cannot be used; the text names both, but no secret."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")


# -- values -----------------------------------------------------------------------------------------------------------

_UNITS: dict[str, int] = {"": 1, **{unit: 1000**power for power, unit in enumerate("KMGTP", 1)}}
_UNITS |= {f"{unit}I": 1024**power for power, unit in enumerate("KMGTP", 1)}
_SIZE = re.compile(r"(\d+)\s*([KMGTP]?I?)B?", re.IGNORECASE)


def size(text: str) -> int:
    """Druid's HumanReadableBytes: 300000000000, 300g, 300GiB. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ValueError(f"{text!r} is not a size, such as 300g or 300GiB")
    return int(match[1]) * _UNITS[match[2].upper()]


def _locations(text: str) -> list[str]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("not a list of locations")
    places = []
    for one in found:
        if not isinstance(one, dict) or not isinstance(one.get("path"), str) or "maxSize" not in one:
            raise ValueError("a location is an object with path and maxSize")
        place = f"{one['path']}:{size(str(one['maxSize']))}"
        percent = one.get("freeSpacePercent")
        if percent is not None and (isinstance(percent, bool) or not isinstance(percent, int | float)):
            raise ValueError("a location's freeSpacePercent is not a number")
        places.append(place if not percent else f"{place}:{percent}%")
    return places


def _secret(text: str) -> str:
    """A password, or one of Druid's password providers."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        provider = json.loads(text)
    except ValueError:
        raise ValueError("its JSON cannot be read") from None
    match provider:
        case {"type": "default", "password": str(password)}:
            return password
        case {"type": "environment", "variable": str(variable)}:
            if variable not in os.environ:
                raise ValueError(f"the environment has no {variable}")
            return os.environ[variable]
    raise ValueError("its type is neither default nor environment")


def _positive_size(text: str) -> int | None:
    return size(text) or None  # 0: as much as the locations hold, which is the default here


def _same(text: str) -> str:
    return text


def _listed(text: str) -> list[str]:
    found = json.loads(text)
    if not isinstance(found, list):
        raise ValueError("not a JSON array")
    return [str(one) for one in found]


def _pairs(text: str) -> list[str]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    return [f"{key}={value}" for key, value in found.items()]


def _lowest(text: str) -> bool:
    if text not in ("highest", "lowest"):
        raise ValueError(f"{text!r} is neither highest nor lowest")
    return text == "lowest"


_SIMPLE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "druid.host": ("host", _same),
    "druid.plaintextPort": ("port", _same),
    "druid.zk.service.sessionTimeoutMs": ("session_timeout", lambda text: int(text) / 1000),
    "druid.zk.service.acl": ("coord_acl", _same),
    "druid.segmentCache.locations": ("locations", _locations),
    "druid.segmentCache.locationSelector.strategy": ("cache_selector", _same),
    "druid.segmentCache.numLoadingThreads": ("load_threads", _same),
    "druid.server.tier": ("tier", _same),
    "druid.server.priority": ("priority", _same),
    "druid.server.maxSize": ("max_size", _positive_size),
    "druid.coord.http.allowedHosts": ("allowed_hosts", _listed),
    "druid.coord.http.auth": ("http_auth", _secret),
    "druid.coord.input.directories": ("input_dirs", _listed),
    "druid.worker.capacity": ("capacity", _same),
    "druid.worker.category": ("category", _same),
    "druid.indexer.runner.startPort": ("task_port", _same),
    "druid.indexer.task.restoreTasksOnRestart": ("restore_tasks", _same),
    "druid.service": ("service", _same),
    "druid.broker.select.tier": ("select_tier", _same),
    "druid.broker.select.tier.custom.priorities": ("priorities", _listed),
    "druid.broker.select.tier.preferred.tier": ("preferred_tier", _same),
    "druid.broker.select.tier.preferred.priority": ("preferred_lowest", _lowest),
    "druid.broker.balancer.type": ("broker_balancer", _same),
    "druid.broker.segment.watchedTiers": ("watched_tiers", _listed),
    "druid.broker.segment.ignoredTiers": ("ignored_tiers", _listed),
    "druid.broker.segment.watchedDataSources": ("watched_data_sources", _listed),
    "druid.broker.segment.watchRealtimeTasks": ("watch_tasks", _same),
    "druid.router.defaultBrokerServiceName": ("default_broker", _same),
    "druid.router.tierToBrokerMap": ("tier_brokers", _pairs),
    "druid.router.strategies": ("strategies", _same),
    "druid.coordinator.period": ("period", _same),
    "druid.coordinator.load.timeout": ("load_timeout", _same),
    "druid.coordinator.balancer.strategy": ("balancer", _same),
    "druid.coordinator.kill.on": ("kill", _same),
    "druid.coordinator.kill.period": ("kill_period", _same),
    "druid.coordinator.kill.durationToRetain": ("kill_retain", _same),
    "druid.coordinator.kill.bufferPeriod": ("kill_buffer", _same),
    "druid.coordinator.kill.maxSegments": ("kill_max_segments", _same),
    "druid.coordinator.kill.maxInterval": ("kill_max_interval", _same),
}

_DONE_ANYWAY: dict[str, tuple[str, ...]] = {
    "druid.zk.service.enabled": ("true",),
    "druid.zk.service.compress": ("true",),
    "druid.zk.service.authScheme": ("digest",),
    "druid.indexer.storage.type": ("metadata",),
    "druid.indexer.runner.type": ("remote",),
    "druid.indexer.logs.type": ("file",),
    "druid.selectors.indexing.serviceName": ("druid/overlord",),
    "druid.selectors.coordinator.serviceName": ("druid/coordinator",),
    "druid.startup.logging.logProperties": ("true", "false"),
    "druid.s3.enablePathStyleAccess": ("true",),
    "druid.storage.zip": ("false",),
}


# Where Druid's processes would look elsewhere than ours: below druid.zk.paths.base the layout is what it is.
_LAYOUT = {
    "druid.zk.paths.announcementsPath": "announcements",
    "druid.zk.paths.liveSegmentsPath": "segments",
    "druid.zk.paths.loadQueuePath": "loadQueue",
    "druid.zk.paths.coordinatorPath": "coordinator",
    "druid.zk.paths.indexer.base": "indexer",
    "druid.zk.paths.indexer.announcementsPath": "indexer/announcements",
    "druid.zk.paths.indexer.tasksPath": "indexer/tasks",
    "druid.zk.paths.indexer.statusPath": "indexer/status",
}


# -- several keys that make one setting -------------------------------------------------------------------------------


@attrs.define
class Properties:
    """All keys of the files, and which of them were understood."""

    values: Mapping[str, str]
    known: set[str] = attrs.field(factory=set)

    def get(self, key: str, default: str = "") -> str:
        """A value without the blanks around it; the key counts as understood."""
        self.known.add(key)
        return self.values.get(key, default).strip()

    def secret(self, key: str) -> str:
        """A password."""
        try:
            return _secret(self.get(key))
        except ValueError as fault:
            raise PropertyError(key, str(fault)) from None

    def simple(self) -> dict[str, Any]:
        """What stands for itself."""
        found = {}
        for key, (param, convert) in _SIMPLE.items():
            text = self.get(key)
            if text:
                try:
                    found[param] = convert(text)
                except ValueError as fault:
                    raise PropertyError(key, str(fault)) from None
        return {param: value for param, value in found.items() if value is not None}

    def refuse_other_places(self) -> None:
        """PropertyError where half of a cluster would be told of other znodes or tables than ours."""
        base = self.get("druid.zk.paths.base", "/druid").strip("/")
        for key, below in _LAYOUT.items():
            if self.get(key) not in ("", f"/{base}/{below}"):
                raise PropertyError(key, f"there is only /{base}/{below}; druid.zk.paths.base moves all of it")
        if self.get("druid.metadata.storage.tables.base", "druid") != "druid":
            raise PropertyError("druid.metadata.storage.tables.base", "the tables' names begin with druid_")

    def coordination(self) -> dict[str, Any]:
        """ZooKeeper's hosts, a chroot behind them becoming part of the path; and the credentials there."""
        found: dict[str, Any] = {}
        hosts, base = self.get("druid.zk.service.host"), self.get("druid.zk.paths.base", "/druid")
        if hosts:
            servers, _, chroot = hosts.partition("/")
            found["coord"] = f"zk://{servers}/{'/'.join(part.strip('/') for part in (chroot, base) if part.strip('/'))}"
        user = self.get("druid.zk.service.user")
        password = self.secret("druid.zk.service.pwd")
        if user and password:
            found["auth"] = [f"digest:{user}:{password}"]
        return found

    def metadata(self) -> dict[str, Any]:
        """The metadata store: PostgreSQL, or a file of SQLite, which Druid does not know."""
        prefix = "druid.metadata.storage."
        kind, uri = self.get(f"{prefix}type"), self.get(f"{prefix}connector.connectURI")
        user, password = self.get(f"{prefix}connector.user"), self.secret(f"{prefix}connector.password")
        if kind in ("", "derby"):
            self.known -= {f"{prefix}type", f"{prefix}connector.connectURI"}
            return {}
        if kind == "sqlite":
            return {"metadata": uri.removeprefix("jdbc:sqlite:")}
        if kind != "postgresql":
            raise PropertyError(f"{prefix}type", f"{kind!r} is not supported; there are postgresql and sqlite")
        scheme, separator, rest = uri.removeprefix("jdbc:").partition("://")
        if scheme not in ("postgresql", "postgres") or not separator:
            raise PropertyError(f"{prefix}connector.connectURI", "not jdbc:postgresql://HOST/DATABASE")
        who = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
        return {"metadata": f"{scheme}://{who}@{rest}" if who and "@" not in rest else f"{scheme}://{rest}"}

    def deep_storage(self, environment: MutableMapping[str, str]) -> dict[str, Any]:
        """Deep storage: a directory, or S3, whose credentials go where AWS's own clients look for them."""
        prefix = "druid.storage."
        kind = self.get(f"{prefix}type")
        if kind == "s3":
            access, secret = self.secret("druid.s3.accessKey"), self.secret("druid.s3.secretKey")
            for variable, value in (
                ("AWS_ACCESS_KEY_ID", access),
                ("AWS_SECRET_ACCESS_KEY", secret),
                ("AWS_ENDPOINT_URL", self.get("druid.s3.endpoint.url")),
                ("AWS_REGION", self.get("druid.s3.endpoint.signingRegion")),
            ):
                if value:
                    environment.setdefault(variable, value)
            bucket = self.get(f"{prefix}bucket")
            if not bucket:
                raise PropertyError(f"{prefix}bucket", "is missing")
            return {"deep_storage": f"s3://{bucket}/{self.get(f'{prefix}baseKey')}".rstrip("/")}
        if kind not in ("", "local"):
            raise PropertyError(f"{prefix}type", f"{kind!r} is not supported; there are local and s3")
        directory = self.get(f"{prefix}storageDirectory")
        return {"deep_storage": directory} if directory else {}

    def unknown(self) -> list[str]:
        """The keys that mean nothing here, and do not say what is done anyway."""
        return sorted(
            key
            for key, value in self.values.items()
            if key not in self.known and value.strip().lower() not in _DONE_ANYWAY.get(key, ())
        )


def read_settings(text: str, environment: MutableMapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The options' values by their names, and the keys that mean nothing here. Raises PropertyError."""
    properties = Properties(parse_properties(text))
    properties.refuse_other_places()
    found = properties.simple() | properties.coordination() | properties.metadata()
    found |= properties.deep_storage(environment)
    return found, properties.unknown()


# -- the option -------------------------------------------------------------------------------------------------------


def _files(path: Path) -> Iterable[Path]:
    """A file itself, and of a directory those that Druid keeps there."""
    if not path.is_dir():
        return [path]
    found = [path / name for name in FILES if (path / name).exists()]
    if not found:
        raise click.UsageError(f"{path} has neither {' nor '.join(FILES)}")
    return found


def _load(ctx: click.Context, param: click.Parameter, paths: Collection[Path]) -> None:
    """Make what the files say the defaults of the command's options; of two the later one counts."""
    texts = []
    defaults = dict(ctx.default_map or {})
    for path in (file for given in paths for file in _files(given)):
        if path.suffix == _TOML_SUFFIX:
            defaults |= load_for_root(ctx, path).get("druid", {}).get(ctx.info_name, {})
            continue
        try:
            texts.append(path.read_text("utf-8"))
        except (OSError, UnicodeError) as fault:
            raise click.UsageError(f"{path}: {fault.strerror if isinstance(fault, OSError) else fault}") from None
    if texts:
        try:
            found, unknown = read_settings("\n".join(texts), os.environ)
        except PropertyError as fault:
            raise click.UsageError(str(fault)) from None
        defaults |= found
        if unknown:
            log.warning("keys that mean nothing here: %s", ", ".join(unknown))
    ctx.default_map = defaults


config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    is_eager=True,
    expose_value=False,
    callback=_load,
    help="Druid's runtime.properties and common.runtime.properties, or the directory they are in; repeatable. Or TOML.",
)
"""Read before all other options, whose defaults it changes."""
