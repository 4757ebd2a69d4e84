"""Storage bugs, planted one at a time into a copy of the tree, to see the harness find them: `python -m mutants`.

Each is a change of a line or two that a tired programmer could make. One that no test notices is a hole in the tests;
one whose line is not there any more must be written anew, so that it fails too. Prints the list that docs/testing.md
has, and exits with the number of those that survived.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
COPIED = ("coordserver", "cli", "druidroles", "tests", "setup.cfg", "pyproject.toml")
HARNESS = ("tests/storage", "tests/simulation", "tests/core/test_golden.py", "tests/server/test_replica.py")
AT_ONCE = 2
LIMIT_S = 600


class Mutant(NamedTuple):
    """`name` says what is wrong; each of `changes` is (file, what is there, what is put there)."""

    name: str
    changes: tuple[tuple[str, str, str], ...]
    tests: tuple[str, ...] = HARNESS


def one(name: str, file: str, old: str, new: str, tests: tuple[str, ...] = HARNESS) -> Mutant:
    """A change in one place."""
    return Mutant(name, ((f"coordserver/{file}", old, new),), tests)


_BATCH = "storage/batch_format.py"
_SEGMENT = "storage/segment.py"
_LOG = "storage/txnlog.py"
_SNAPSHOTS = "storage/snapshots.py"
_SNAPSHOT_FORMAT = "storage/snapshot_format.py"
_RECOVERY = "storage/recovery.py"
_STORED_LOG = "storage/stored_log.py"
_APPEND = "storage/append.py"
_ENTRIES = "storage/entries.py"
_TRUNCATION = "storage/truncation.py"
_REPLICA = "server/replica.py"
_STATE_ROWS = "core/state/snapshot.py"
_BACKUP = "storage/backup.py"
_FILE_DISK = "storage/file_disk.py"
_LOG_WRITER = "server/log_writer.py"

MUTANTS = (
    one("a batch is written and not synced", _LOG, ".write_durably(prepared.position", ".write_at(prepared.position"),
    one(
        "answered before it is written",
        _REPLICA,
        "        self._next_index += count\n",
        "        self._next_index += count\n        self._durable_index = self._next_index - 1\n"
        "        self._behind = True\n        self._changed.set()\n",
    ),
    one("the library's writes are not synced", _FILE_DISK, "os.O_WRONLY | os.O_DSYNC", "os.O_WRONLY"),
    one(
        "what the library has written in part counts as written",
        _LOG_WRITER,
        "if self._written < len(prepared.data):",
        "if not self._written:",
        ("tests/server/test_log_writer.py",),
    ),
    one(
        "a log that failed goes on",
        _LOG,
        "        if self._broken:\n            raise StorageError(self._broken)\n        return prepare_append",
        "        return prepare_append",
    ),
    one("no seal", _LOG, "return 0 if self._sealed else", "return 0 if True else"),
    Mutant(
        "the payload's checksum covers only its beginning",
        (
            (f"coordserver/{_BATCH}", "payload_crc = crc32(payload, seed)", "payload_crc = crc32(payload[:40], seed)"),
            (f"coordserver/{_BATCH}", "crc32(payload, seed) == header", "crc32(payload[:40], seed) == header"),
        ),
    ),
    one(
        "the payload's checksum is not looked at",
        _BATCH,
        "return len(payload) == header.length and crc32(payload, seed) == header.payload_crc",
        "return len(payload) == header.length",
    ),
    Mutant(
        "the header's checksums are not looked at",
        (
            (f"coordserver/{_BATCH}", " or header[8] != base_crc:", ":"),
            (f"coordserver/{_BATCH}", "base_crc) == header[11]", "base_crc) >= 0"),
        ),
    ),
    Mutant(
        "checksums are not bound to their segment",
        (
            (f"coordserver/{_BATCH}", "    body_crc = crc32(body, seed)\n", "    body_crc = crc32(body)\n"),
            (
                f"coordserver/{_BATCH}",
                "crc32(data[offset : base_end - _CRC_BYTES], seed)",
                "crc32(data[offset : base_end - 4])",
            ),
        ),
    ),
    one("the chain is not checked", _SEGMENT, " or header.chain != self.chain:", ":"),
    one(
        "damage in the middle passes for a torn tail",
        _SEGMENT,
        "if header.proves_synced(self.next_index):",
        "if header is None:",
    ),
    one(
        "whatever follows damage proves that it was synced",
        _BATCH,
        "return self.synced >= min(index, self.first_index - 1)",
        "return index > 0",
    ),
    one(
        "nothing proves that a seal was synced",
        _BATCH,
        "return self.synced >= min(index, self.first_index - 1)",
        "return self.synced >= index",
    ),
    one(
        "batches of one write say of each other that they were synced",
        _APPEND,
        "synced=next_index - 1",
        "synced=index - 1",
    ),
    Mutant(
        "entries are read that are not durable",
        (
            (f"coordserver/{_ENTRIES}", "if first >= end.next_index:", "if first < 0:"),
            (f"coordserver/{_ENTRIES}", "stop = min(last + 1, end.next_index)", "stop = last + 1"),
        ),
        ("tests/storage",),
    ),
    one("entries are read that were cut off meanwhile", _LOG, "            self._cuts += 1\n", ""),
    one("a cut removes the oldest segments first", _TRUNCATION, "for later in reversed(starts)", "for later in starts"),
    one("a cut goes below a snapshot", _TRUNCATION, "snapshots[-1] >= first_index", "snapshots[-1] > first_index"),
    one(
        "a torn tail is cut one byte too early",
        _SEGMENT,
        "return self.data[HEADER_BYTES : self.position]",
        "return self.data[HEADER_BYTES : self.position - 1]",
    ),
    one(
        "a torn tail is kept",
        _SEGMENT,
        "return self.data[HEADER_BYTES : self.position]",
        "return self.data[HEADER_BYTES : self.position + self.torn_bytes]",
    ),
    one("a new segment has its name before it is synced", _SEGMENT, "        file.sync()\n", "        pass\n"),
    one("the directory of a new segment is not synced", _SEGMENT, "        disk.sync_directory()\n", "        pass\n"),
    one(
        "segments need not follow one another",
        _STORED_LOG,
        "    if end == (reader.header.index, reader.header.chain, 0):\n",
        "    if end:\n",
    ),
    one("a log that ends before the snapshot is taken", _STORED_LOG, "self._last.next_index <= base:", "not self:"),
    one("a snapshot of another history is taken", _STORED_LOG, "!= self._history_id:", "== b'':"),
    one(
        "the last segment is not written anew",
        _RECOVERY,
        "        return write_segment(self._disk, reader.header, body, chain if body else None, self._segment_bytes)\n",
        "        found = write_segment(self._disk, reader.header, reader.body(), reader.chain, self._segment_bytes)\n"
        "        return found\n",
    ),
    one(
        "a snapshot has its name before it is synced, and the log behind it is purged",
        _SNAPSHOTS,
        "            self._file.sync()\n            self._file.close()\n",
        "            self._file.close()\n",
    ),
    one(
        "a snapshot's name is not synced before the log behind it is purged",
        _SNAPSHOTS,
        "            self._disk.sync_directory()\n        except OSError as error:\n            raise self._failed",
        "        except OSError as error:\n            raise self._failed",
    ),
    one("a snapshot's digest is not looked at", _SNAPSHOTS, "if digest != rows.digest:", "if not rows:"),
    one(
        "a block's checksum is not looked at", _SNAPSHOT_FORMAT, "if crc32(payload, seed) != header", "if 0 and header"
    ),
    one("blocks are not chained", _SNAPSHOT_FORMAT, "        self._seed = crc32(body, self._seed)\n", "        pass\n"),
    one("one snapshot is kept", _SNAPSHOTS, "indexes[:-keep]]", "indexes[:-1]]"),
    one("a record too many is purged", _SNAPSHOTS, "purge_log(disk, oldest + 1)", "purge_log(disk, oldest + 2)"),
    one("purging takes a segment that is needed", _LOG, "if following <= keep_from]", "if start <= keep_from]"),
    one(
        "remembered writes are left out of snapshots",
        "core/state/snapshot.py",
        "session.outcomes.items():",
        "{}.items():",
    ),
    one("a restored history keeps its id", _BACKUP, "    state.history_id = history_id\n", ""),
    one("sessions outlive a restore", _BACKUP, "ended = end_sessions(", "ended = 0 and end_sessions("),
    one("old files are taken for new ones", _BACKUP, "max([0, *taken]) + 1", "max([0, *taken])"),
)


@contextmanager
def copy(root: Path) -> Iterator[Path]:
    """The tree, somewhere else."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as directory:
        place = Path(directory)
        for name in COPIED:
            source = root / name
            if source.is_dir():
                shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copy(source, place / name)
        yield place


def run(place: Path, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The tests on a copy."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    return subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def plant(place: Path, mutant: Mutant) -> None:
    """Change the copy. Raises AssertionError where what is to be changed is not there, or there twice."""
    for name, old, new in mutant.changes:
        path = place / name
        text = path.read_text()
        assert text.count(old) == 1, f"{mutant.name}: {old!r} is {text.count(old)} times in {name}"
        path.write_text(text.replace(old, new))


def judge(base: Path, mutant: Mutant) -> str:
    """Which test noticed; empty if none did."""
    with copy(base) as place:
        plant(place, mutant)
        done = run(place, mutant.tests)
    if done.returncode == 0:
        return ""
    told = [line for line in done.stdout.splitlines() if line.startswith(("FAILED tests", "ERROR tests"))]
    return told[0].split(" - ")[0].partition(" ")[2] if told else f"pytest's exit code {done.returncode}"


def check_base(base: Path) -> None:
    """A copy without a bug must pass, and must be what is tested."""
    with copy(base) as place:
        code = "import coordserver; print(coordserver.__file__)"
        found = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
        assert found.stdout.startswith(str(place)), f"not the copy is tested, but {found.stdout}"
        done = run(place, HARNESS)
        assert done.returncode == 0, f"the tests fail without any bug:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def main() -> int:
    """As the module says."""
    wanted = [mutant for mutant in MUTANTS if not sys.argv[1:] or any(word in mutant.name for word in sys.argv[1:])]
    started = time.monotonic()
    survived = 0
    with copy(ROOT) as base, ThreadPoolExecutor(AT_ONCE) as pool:
        check_base(base)
        for mutant, noticed in zip(wanted, pool.map(partial(judge, base), wanted), strict=True):
            survived += not noticed
            print(f"| {mutant.name} | {'`' + noticed + '`' if noticed else '**survived**'} |", flush=True)
    print(f"{len(wanted) - survived} of {len(wanted)} noticed, in {time.monotonic() - started:.0f} s")
    return survived


if __name__ == "__main__":
    sys.exit(main())
