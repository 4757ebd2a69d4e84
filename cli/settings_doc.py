"""Write docs/settings.md from the settings themselves: `python -m cli.settings_doc > docs/settings.md`."""

from __future__ import annotations

from typing import Any

import attrs
import click

from coordserver.config.server import ServerConfig
from coordserver.config.setting import setting_of
from coordserver.config.zoo_cfg import ZOOKEEPER_DEFAULTS

_INTRODUCTION = """\
# Settings of `coord server`

A setting comes from its flag, else from its environment variable, else from the file given with `--config`, else it
has its default. `coord --config FILE server` and `coord server --config FILE` are the same; given both, the latter
counts.

Addresses are HOST:PORT; `[::]:PORT` is every address of IPv6 and of IPv4. Several are several flags, one list in
TOML, and have spaces between them in the environment.

The file is TOML, with the names below in the table `[server]`:

    [server]
    data_dir = "/var/lib/coord"
    listen = ["127.0.0.1:2181"]

or ZooKeeper's `zoo.cfg`, as it is; see below. A file named `.toml` is the one, `.cfg` or `.properties` the other;
of any other name it is TOML if it has a table.

`auto` asks whether only this machine can connect, that is whether all of `listen`, `secure_listen` and
`admin_listen` are loopback addresses.

"""

_ZOO_CFG = """
## zoo.cfg

Keys may have the prefix `zookeeper.`, and their case does not matter. A key that means nothing here is named in one
line at the start, unless its value says what this server does anyway (`forceSync=yes`). Not as in ZooKeeper:

- Where the file says nothing, {defaults} hold.
- `clientPort` without `clientPortAddress` is every address of IPv4 and IPv6, as is `::`. With a certificate it takes
  TLS as well, as with `client.portUnification=true`; `secureClientPort` takes nothing else.
- `globalOutstandingLimit` holds for each connection, not for all of them together.
- `preAllocSize` counts KiB, as there. `jute.maxbuffer` above 1 MiB raises `znode_bytes` and `frame_bytes` with it.
- A number that ZooKeeper corrects (`snapCount=0`, `autopurge.snapRetainCount=1`) is corrected alike; one outside the
  bounds of the setting becomes the nearest one that is allowed, or the default. A warning at the start names each.
  Negative `maxClientCnxns` is no limit. `enforceQuota` is on for `true` only, and a warning names other words;
  `admin.enableServer=no` turns it off.
- `dataDir` gets files of our own format, `dataLogDir` gets none. What a ZooKeeper left in them is not read in place:
  a start is refused until `coord snapshot import-zookeeper` has brought it in (docs/storage.md). Then both formats may
  lie in one directory, and ZooKeeper's files are not touched.
- Key and trust stores are PEM files. `ssl.keyStore.password` and `passwordPath` are of an encrypted key;
  `ssl.clientAuth` is `need` where there is a trust store and it is not said otherwise.
- `admin.serverPort`, and `metricsProvider.httpPort` with Prometheus' provider, open a port that speaks only HTTP,
  if the file names them: the client port answers the same.
- One line `server.N` is allowed, or one in `dynamicConfigFile`; several are an ensemble, and the server does not
  start.

## Four-letter words and HTTP

Both are answered on the client port. A word that is not in `fourletter_whitelist` gets ZooKeeper's sentence about
it. HTTP has `/livez`, `/readyz`, `/metrics` (Prometheus) and, if `admin_commands` allows it, `/commands` with the
commands of ZooKeeper's AdminServer, under the same names and aliases.

`hash`, `observers` and `zabstate` answer as a ZooKeeper that stands alone. `restore` answers 503 and names
`coord snapshot restore`. `mntr` and `monitor` have a 0 for what cannot happen here, as elections.

`connection_stat_reset`, `stat_reset` and `set_trace_mask` change something and so need, over HTTP, a header
`Authorization: digest USER:PASSWORD` (or `ip`, or `x509` with a client's certificate) of somebody who has every
right on `/`: the super user, or whoever the ACL of `/` names. As in ZooKeeper, the open ACL that `/` has at first
names everybody. They are refused where the Host header is none of an address, `localhost` or the machine's name,
and where there is an Origin header that is not that host: no web page can make a browser ask for them. If every
address is loopback, this holds for all commands: no page reads them by DNS rebinding.

`stat`, `cons`, `dump`, `wchc` and `wchp`, and the commands like them, grow with what there is. They are written
some lines at a time, and no faster than they are read, with sockets served in between, so they tell no single
moment; at most eight are under way at once, and further ones are told to ask again. They begin with a copy of the
keys they go over, about 10 ns each.
"""


def table() -> str:
    """One row a setting."""
    rows = [
        "| TOML | flag | environment | default | unit | zoo.cfg | what it is |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for attribute in attrs.fields(ServerConfig):
        known = setting_of(attribute)
        about = known.about.replace("|", "\\|")
        if known.choices:
            about += f" One of {', '.join(known.choices)}."
        zoo_key = ", ".join(f"`{key}`" for key in known.zoo_key.split(", ") if key)
        name = attribute.name
        flag, variable = "--" + name.replace("_", "-"), "COORD_SERVER_" + name.upper()
        cells = (f"`{name}`", f"`{flag}`", f"`{variable}`", _default(attribute), known.unit, zoo_key, about)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _default(attribute: attrs.Attribute[Any]) -> str:
    value = attribute.default
    if value is attrs.NOTHING:
        return "required"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def document() -> str:
    """All of docs/settings.md."""
    defaults = " and ".join(f"`{name} = {value}`" for name, value in ZOOKEEPER_DEFAULTS.items())
    return _INTRODUCTION + table() + _ZOO_CFG.format(defaults=defaults)


if __name__ == "__main__":
    click.echo(document(), nl=False)
