"""A PostgreSQL of the tests' own: its server's programs as Debian installs them, a directory and a port of its own.

initdb and the server refuse to run as root, so there they run as the user postgres. The server compares text as people
do (ICU), not byte by byte, so that what relies on the latter has to say so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

from differential.peers import free_port

READY_S = 60
_USER = "postgres"


def _programs() -> Path | None:
    found = shutil.which("initdb")
    candidates = [Path(found).parent] if found else []
    candidates += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((path for path in candidates if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _why_absent() -> str:
    if _programs() is None:
        return "no PostgreSQL server here (apt-get install postgresql)"
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(_USER)
        except KeyError:
            return f"PostgreSQL does not run as root, and there is no user {_USER}"
    try:
        import psycopg  # noqa: F401 - whether it is there
    except ImportError:
        return "no psycopg here"
    return ""


ABSENT = _why_absent()
"""Why there is no PostgreSQL to test with; empty if there is."""


class PostgresServer:
    """A running server; `database` makes a new, empty database and gives its URL."""

    def __init__(self, directory: Path) -> None:
        self.port = 0
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)
        root = os.geteuid() == 0
        self._as_user: dict[str, Any] = {"user": _USER, "group": _USER, "extra_groups": []} if root else {}

    def url(self, database: str = "postgres") -> str:
        """Where a database is."""
        return f"postgresql://druid@127.0.0.1:{self.port}/{database}"

    def database(self) -> str:
        """The URL of a new database."""
        import psycopg

        name = f"druid_{next(self._numbers)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        return self.url(name)

    def start(self) -> None:
        """Start it, made at the first time, and wait until it answers."""
        programs = _programs()
        assert programs is not None
        data = self._directory / "data"
        if not data.exists():
            if self._as_user:
                shutil.chown(self._directory, _USER)
            options = ["-U", "druid", "-A", "trust", "-N", "-E", "UTF8", "--locale=C.UTF-8"]
            icu = ["--locale-provider=icu", "--icu-locale=en-US"]
            self._run([str(programs / "initdb"), "-D", str(data), *options, *icu])
            self.port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "fsync": "off",
        }
        arguments = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        with (self._directory.parent / f"{self._directory.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(programs / "postgres"), "-D", str(data), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self._as_user,
            )
        self._wait_ready()

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd="/", **self._as_user
        )
        assert done.returncode == 0, done.stdout.decode(errors="replace")

    def _wait_ready(self) -> None:
        import psycopg

        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            assert self._process.poll() is None, "PostgreSQL ended"
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError("PostgreSQL did not come up")

    def stop(self) -> None:
        """End it at once, as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(3)  # SIGQUIT: immediate shutdown, its children with it
            process.wait()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server for as long as the block lasts. Not below pytest's directories, which other users may not enter."""
    directory = Path(tempfile.mkdtemp(prefix="coord-postgres-"))
    os.chmod(directory, 0o755)
    own = directory / "server"
    own.mkdir()
    server = PostgresServer(own)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def make_tables_of_druid(url: str) -> None:
    """The tables as Druid makes them: with the database's own collation, and without those of ours."""
    import psycopg

    from druidroles.metadata.postgres_schema import statements

    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements():
            if "coord_" not in statement:
                connection.execute(statement.replace(' COLLATE "C"', ""))
