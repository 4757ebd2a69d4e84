"""`python -m fuzzing [SECONDS [SEED]]`: every target in turn, with atheris (coverage guides it) where there is one.

Without atheris the same targets get random bytes, spliced and bent from legal ones; that finds less, and it says so.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from coordserver.core.model.operations import Op
from coordserver.wire.jute import client as jute
from coordserver.wire.native.client import encode_hello, encode_request
from fuzzing.targets import TARGETS, attempt

try:
    import atheris
except ImportError:
    atheris = None

GUIDED = "FUZZ_TARGET"
FOUND = tempfile.gettempdir()
"""Where inputs are left that break something."""


def seeds() -> list[bytes]:
    """Legal bytes to start from."""
    acl = ((31, "world", "anyone"),)
    create = (int(Op.CREATE), "/a", b"data", acl, 0)
    requests = [
        jute.request(1, Op.CREATE, create[1:]),
        jute.request(2, Op.MULTI, ((create, (int(Op.DELETE), "/a", -1), (int(Op.CHECK), "/b", 3)),)),
        jute.request(3, Op.SET_WATCHES2, (5, ("/a",), ("/b",), (), ("/c",), ("/d",))),
        jute.connect_request(timeout_ms=10_000),
        encode_hello(timeout_ms=10_000, name="fuzz"),
        encode_request(1, Op.CREATE, 1, ("/a", b"data", acl, 0, 0)),
        encode_request(2, Op.MULTI, 1, ((create, (int(Op.DELETE), "/a", -1)),)),
    ]
    return [*requests, *(b"\0" + data for data in requests), *(data[12:] for data in requests)]


def bent(source: random.Random, corpus: list[bytes]) -> bytes:
    """A piece of one, a piece of another, some bytes changed."""
    data = bytearray(source.choice(corpus))
    if source.random() < 0.5:
        other = source.choice(corpus)
        data[source.randrange(len(data) + 1) :] = other[source.randrange(len(other)) :]
    for _ in range(source.randrange(5)):
        at = source.randrange(len(data) + 1)
        data[at : at + source.randrange(3)] = source.choice(
            (b"", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xdd", source.randbytes(source.randrange(1, 9)))
        )
    return bytes(data)


def unguided(target: Callable[[bytes], None], seconds: float, source: random.Random) -> int:
    """Random bytes for so long; how many inputs."""
    corpus, ends, count = seeds(), time.monotonic() + seconds, 0
    while time.monotonic() < ends:
        data = bent(source, corpus)
        try:
            attempt(target, data)
        except Exception:
            print(f"{target.__name__} fails on {data!r}")
            raise
        count += 1
    return count


def guided(target: Callable[[bytes], None]) -> None:
    """Give this process to atheris."""
    atheris.instrument_all()
    atheris.Setup(sys.argv, lambda data: attempt(target, data))
    atheris.Fuzz()


def main() -> int:
    """The exit code: how many targets failed."""
    by_name = {target.__name__: target for target in TARGETS}
    if os.environ.get(GUIDED):
        guided(by_name[os.environ[GUIDED]])
        return 0
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else int(time.time())
    failed = 0
    if atheris is None:
        print(f"atheris is not installed: random bytes without coverage, seed {seed}")
    for name, target in by_name.items():
        if atheris is None:
            print(f"{name}: {unguided(target, seconds, random.Random(seed)):,} inputs", flush=True)
            continue
        print(f"{name}: atheris, {seconds:.0f} s, seed {seed}", flush=True)
        options = (f"-max_total_time={seconds:.0f}", f"-seed={seed}", "-verbosity=0", f"-artifact_prefix={FOUND}/")
        command = [sys.executable, "-m", "fuzzing", *options]
        failed += subprocess.run(command, env={**os.environ, GUIDED: name}, check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main())
