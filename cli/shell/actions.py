"""The actions of the shell's commands. Each one takes a client and the arguments of its command."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

import click

from cli.render import data_fields, data_line, print_json
from coordserver.client import Client, NoNodeError, Stat
from coordserver.core.model.paths import join

Action: TypeAlias = Callable[[Client], Awaitable[None]]

_CHUNK = 256  # znodes that `ls -R` reads with concurrent requests
_MAX_INFLATED = 64 * 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"


async def ls(zk: Client, path: str, *, recursive: bool, stat: bool, as_json: bool) -> None:
    """Print the names of the children, or with `recursive` every path of the subtree."""
    if recursive:
        found = await _read_subtree(zk, path)
        if as_json:
            paths = [{"path": p, **stat_fields(p_stat)} for p, p_stat in found] if stat else [p for p, _ in found]
            print_json({"path": path, "paths": paths})
            return
        for found_path, found_stat in found:
            click.echo(found_path)
            if stat:
                _echo_stat(found_stat, indent="  ")
        return
    names = await zk.children(path)
    own = await zk.exists(path) if stat else None
    if as_json:
        print_json({"path": path, "children": names} | ({"stat": stat_fields(own)} if own else {}))
        return
    for name in names:
        click.echo(name)
    if own:
        _echo_stat(own)


async def _read_subtree(zk: Client, root: str) -> list[tuple[str, Stat]]:
    """Return root and all paths below it, each with its Stat, in the order of a depth-first walk."""
    found: list[tuple[str, Stat]] = []
    level = [root]
    while level:
        below: list[str] = []
        for start in range(0, len(level), _CHUNK):
            chunk = level[start : start + _CHUNK]
            for path, read in zip(chunk, await zk.read_with_children(chunk), strict=True):
                if read is not None:
                    node, names = read
                    found.append((path, node.stat))
                    below.extend(join(path, name) for name in names)
        level = below
    if not found:
        raise NoNodeError(root)
    return sorted(found, key=lambda entry: entry[0].split("/"))


async def get(zk: Client, path: str, *, stat: bool, decode: bool, as_json: bool) -> None:
    """Print the data of a znode. `decode` decompresses gzip data."""
    data, node_stat = await zk.get(path)
    if decode and data.startswith(_GZIP_MAGIC):
        data = inflate(data)
    if as_json:
        print_json({"path": path, **data_fields(data)} | ({"stat": stat_fields(node_stat)} if stat else {}))
        return
    click.echo(data_line(data))
    if stat:
        _echo_stat(node_stat)


def inflate(data: bytes) -> bytes:
    """Decompress gzip data. Returns `data` unchanged if it is damaged, or over 64 MiB when decompressed."""
    try:
        if int.from_bytes(data[-4:], "little") > _MAX_INFLATED:
            return data
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data


async def create(zk: Client, path: str, data: bytes, *, flags: dict[str, Any], as_json: bool) -> None:
    """Create a znode and print its path."""
    created = await zk.create(path, data, **flags)
    if as_json:
        print_json({"path": created.path, "stat": stat_fields(created.stat)})
    else:
        click.echo(created.path)


async def set_data(zk: Client, path: str, data: bytes, *, version: int, as_json: bool) -> None:
    """Replace the data of a znode."""
    stat = await zk.set(path, data, version=version)
    if as_json:
        print_json({"path": path, "stat": stat_fields(stat)})


async def delete(zk: Client, path: str, *, version: int) -> None:
    """Delete a znode without children."""
    await zk.delete(path, version=version)


async def deleteall(zk: Client, path: str) -> None:
    """Delete a znode and its subtree. Raises NoNodeError if it does not exist."""
    if await zk.exists(path) is None:
        raise NoNodeError(path)
    await zk.delete_tree(path)


async def stat(zk: Client, path: str, *, as_json: bool) -> None:
    """Print the Stat of a znode. Raises NoNodeError if it does not exist."""
    found = await zk.exists(path)
    if found is None:
        raise NoNodeError(path)
    if as_json:
        print_json({"path": path, **stat_fields(found)})
    else:
        _echo_stat(found)


async def watch(zk: Client, path: str, *, recursive: bool, count: int, as_json: bool) -> None:
    """Print events as they arrive, and return after `count` of them. With `count` 0 it does not return."""
    printed = 0
    async with zk.watch(path, recursive=recursive) as events:
        click.echo(f"watching {path}", err=True)
        async for event in events:
            if as_json:
                print_json({"kind": event.kind.value, "path": event.path, "zxid": event.zxid})
            else:
                click.echo(f"{event.kind.value:8} {event.path}  zxid 0x{event.zxid:x}")
            printed += 1
            if printed == count:
                return


_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The years 1 to 9999."""

# The names of the fields in ZooKeeper's Stat class, in the order of our Stat.
_JSON_NAMES: Sequence[str] = (
    "czxid",
    "mzxid",
    "ctime",
    "mtime",
    "version",
    "cversion",
    "aversion",
    "ephemeralOwner",
    "dataLength",
    "numChildren",
    "pzxid",
)


def stat_fields(stat: Stat) -> dict[str, int]:
    """Return a Stat as the members of a JSON object."""
    return dict(zip(_JSON_NAMES, stat, strict=True))


def _echo_stat(stat: Stat, indent: str = "") -> None:
    lines = (
        f"cZxid = 0x{stat.czxid:x}",
        f"ctime = {_format_instant(stat.ctime)}",
        f"mZxid = 0x{stat.mzxid:x}",
        f"mtime = {_format_instant(stat.mtime)}",
        f"pZxid = 0x{stat.pzxid:x}",
        f"cversion = {stat.cversion}",
        f"dataVersion = {stat.version}",
        f"aclVersion = {stat.aversion}",
        f"ephemeralOwner = 0x{stat.ephemeral_owner:x}",
        f"dataLength = {stat.data_length}",
        f"numChildren = {stat.num_children}",
    )
    for line in lines:
        click.echo(indent + line)


def _format_instant(ms: int) -> str:
    """Format as ISO 8601. An instant outside the years 1 to 9999 stays a number."""
    if not _FIRST_MS <= ms <= _LAST_MS:
        return str(ms)
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
