"""`coord server`: the coordination server."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.running import run
from coordserver.config.address import Address
from coordserver.config.server import DEFAULT_LISTEN, DEFAULT_TICK_TIME_MS, TLS_CLIENT_AUTH, ConfigError, ServerConfig
from coordserver.core.errors import CoordError

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


_DEFAULTS = {
    name: attribute.default
    for name, attribute in ((a.name, a) for a in ServerConfig.__attrs_attrs__)
    if isinstance(attribute.default, int)
}
_FILE = click.Path(path_type=Path, dir_okay=False)


def _number(name: str, help_text: str) -> Callable[[F], F]:
    flag = "--" + name.replace("_", "-")
    return click.option(flag, name, type=int, default=_DEFAULTS[name], help=help_text)


@click.command("server")
@click.option("--listen", type=AddressType(), multiple=True, default=(str(DEFAULT_LISTEN),), help="Port 0: a free one.")
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="Log and snapshots; one server each.")
@click.option("--tick-time-ms", type=int, default=DEFAULT_TICK_TIME_MS, help="Session timeouts: 2 to 20 of it.")
@_number("session_timeout_min_ms", "Least session timeout; 0: from the tick.")
@_number("session_timeout_max_ms", "Greatest session timeout; 0: from the tick.")
@_number("snapshot_every", "Records between snapshots.")
@_number("snapshots_kept", "Older ones are removed, and the log that none needs.")
@_number("segment_bytes", "Size of a log segment, preallocated.")
@_number("max_connections", "Open connections, at most.")
@_number("outstanding", "Unanswered requests of a connection, above which it is not read from.")
@_number("frame_bytes", "Longest request.")
@_number("znode_bytes", "Largest data of a znode.")
@_number("output_bytes", "Unread answers at which a connection is cut off.")
@_number("handshake_ms", "How long a new connection may take to say who it is.")
@_number("stall_ms", "How long a connection may leave its answers unread.")
@_number("stop_ms", "How long a graceful stop waits for clients.")
@click.option("--super-digest", default="", help="USER:HASH of the user who may do everything.")
@click.option("--super-x509", default="", help="Subject of the certificate that may do everything.")
@click.option("--enforce-quota", is_flag=True, help="Hard limits of quotas refuse writes.")
@click.option("--tls-cert", type=_FILE, help="PEM file; with --tls-key the port takes TLS too.")
@click.option("--tls-key", type=_FILE, help="PEM file of the certificate's key.")
@click.option("--tls-ca", type=_FILE, help="PEM file: who signs clients' certificates.")
@click.option("--tls-client-auth", type=click.Choice(TLS_CLIENT_AUTH), default="none", help="A client's certificate.")
def command(listen: tuple[Address, ...], data_dir: Path, **settings: Any) -> None:
    """Start the coordination server; SIGTERM or Ctrl-C stops it gracefully, a second one at once."""
    try:
        config = ServerConfig(listen=listen, data_dir=data_dir.absolute(), **settings)
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
