"""`coord server`: the coordination server."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from cli.config_file import WARNINGS, load_for_server
from cli.running import run
from coordserver.config.address import Address
from coordserver.config.server import ConfigError, ServerConfig
from coordserver.config.setting import setting_of
from coordserver.core.model.errors import CoordError

_log = logging.getLogger(__name__)

F = TypeVar("F", bound=Callable[..., Any])


class AddressType(click.ParamType[Address]):
    """HOST:PORT."""

    name = "host:port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """The address, or a usage error."""
        if isinstance(value, Address):
            return value
        try:
            return Address.parse(str(value))
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


_FILE = click.Path(path_type=Path, dir_okay=False)
_TYPES: dict[str, dict[str, Any]] = {
    "int": {"type": int},
    "bool": {"is_flag": True},
    "str": {"type": str},
    "Path": {"type": click.Path(path_type=Path)},
    "Path | None": {"type": _FILE},
    "tuple[Address, ...]": {"type": AddressType(), "multiple": True},
}


def settings_options(command: F) -> F:
    """A flag for each setting of ServerConfig, in their order."""
    for attribute in reversed(attrs.fields(ServerConfig)):
        command = _option(attribute)(command)
    return command


def _option(attribute: attrs.Attribute[Any]) -> Callable[[F], F]:
    known = setting_of(attribute)
    options = dict(_TYPES[str(attribute.type)])
    if known.choices:
        options["type"] = click.Choice(known.choices)
    if attribute.default is attrs.NOTHING:
        options["required"] = True
    elif isinstance(attribute.default, tuple):
        options["default"] = tuple(map(str, attribute.default))
    else:
        options["default"] = attribute.default
    return click.option("--" + attribute.name.replace("_", "-"), attribute.name, help=known.about, **options)


def _load_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """What this file says comes before what the one given to `coord` says."""
    if value is not None:
        ctx.default_map = {**(ctx.default_map or {}), **load_for_server(ctx, value)}
    return value


@click.command("server")
@click.option(
    "--config",
    type=_FILE,
    is_eager=True,
    expose_value=False,
    callback=_load_config,
    help="TOML file with a table [server], or ZooKeeper's zoo.cfg.",
)
@settings_options
@click.pass_context
def command(ctx: click.Context, /, data_dir: Path, **settings: Any) -> None:
    """Start the coordination server; SIGTERM or Ctrl-C stops it gracefully, a second one at once."""
    for line in ctx.meta.get(WARNINGS, ()):
        _log.warning("%s", line)
    try:
        config = ServerConfig(data_dir=data_dir.absolute(), **settings)
    except ConfigError as fault:
        raise click.UsageError(str(fault)) from None
    gc.freeze()
    run(lambda: _serve(config), CoordError)


async def _serve(config: ServerConfig) -> None:
    import signal

    import trio

    from coordserver.server.serve import ServerHandle, serve

    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:

            async def serve_and_end(task_status: trio.TaskStatus[ServerHandle]) -> None:  # noqa: ASYNC128 - serve does
                await serve(config, own_process=True, task_status=task_status)
                nursery.cancel_scope.cancel(reason="the server has stopped")

            handle: ServerHandle = await nursery.start(serve_and_end)
            click.echo("READY server " + " ".join(str(address) for address in handle.addresses))
            async for _ in signals:
                if handle.stopping:
                    nursery.cancel_scope.cancel(reason="a second signal")
                handle.stop()
