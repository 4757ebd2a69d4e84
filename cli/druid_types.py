"""The types of the options of `coord druid ROLE`: each reads one text, or says what is wrong with it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from druidroles.coordination.url import CoordUrl


class CoordUrlType(click.ParamType[CoordUrl]):
    """coord://host:port,…/base, or zk://… for an Apache ZooKeeper."""

    name = "url"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> CoordUrl:
        """The URL, or a usage error."""
        if isinstance(value, CoordUrl):
            return value
        try:
            url = CoordUrl.parse(str(value))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)
        return url


class CacheLocationType(click.ParamType[tuple[Path, int, float]]):
    """PATH:BYTES or PATH:BYTES:PERCENT%."""

    name = "path:bytes"
    _FORM = re.compile(r"(?P<path>.+?):(?P<size>[0-9]+)(?::(?P<percent>[0-9]{1,2}(?:\.[0-9]+)?|100)%)?")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, int, float]:
        """The directory, its size, and how much of its disk stays free; or a usage error."""
        match = self._FORM.fullmatch(str(value))
        if match is None:
            self.fail(f"{value!r} is not PATH:BYTES or PATH:BYTES:PERCENT%", param, ctx)
        return Path(match["path"]).absolute(), int(match["size"]), float(match["percent"] or 0)


class LocationType(click.ParamType[Path | str]):
    """A path, made absolute, or a URL that `parse` knows."""

    name = "path|url"

    def __init__(self, parse: Callable[[str], Path | str], needed: tuple[str, ...]) -> None:
        """A URL needs the modules `needed`; they are imported at once, so that a missing one is reported first."""
        self._parse = parse
        self._needed = needed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """Where it is, or a usage error."""
        try:
            location = self._parse(str(value))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)
        if isinstance(location, Path):
            return location.absolute()
        for module in self._needed:
            import_module(module)
        return location


class TierBrokerType(click.ParamType[tuple[str, str]]):
    """TIER=SERVICE."""

    name = "tier=service"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """The tier and the service, or a usage error."""
        tier, _, service = str(value).partition("=")
        if not tier or not service:
            self.fail(f"{value!r} is not TIER=SERVICE", param, ctx)
        return tier, service


class StrategiesType(click.ParamType[Any]):
    """Druid's JSON array of a Router's strategies."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The strategies, or a usage error."""
        from druidroles.router.broker_strategies import parse_strategies

        if not isinstance(value, str):
            return value
        try:
            return parse_strategies(json.loads(value))
        except (ValueError, RecursionError) as fault:
            self.fail(f"{value!r}: {fault}", param, ctx)
