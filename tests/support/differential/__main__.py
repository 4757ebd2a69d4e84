"""Run many histories: `python -m differential [FIRST_SEED [COUNT]]` with tests/support on the path."""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from pathlib import Path

from differential.compare import explain, renamed, run_both, shrink
from differential.histories import make
from differential.peers import ABSENT, both


def main() -> int:
    """The exit code: how many histories differ, at most 100."""
    if ABSENT:
        print(ABSENT)
        return 0
    first = int(sys.argv[1]) if len(sys.argv) > 1 else int(time.time())
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000
    print(f"{count} histories from seed {first}", flush=True)
    names = itertools.count(10**9)
    different = 0
    with tempfile.TemporaryDirectory() as directory:
        base = Path(directory)
        with both(base) as (real, ours):
            for seed in range(first, first + count):
                found = run_both(make(seed), real, ours)
                if found is None:
                    continue
                different += 1
                small = shrink(
                    make(seed), lambda candidate: run_both(renamed(candidate, next(names)), real, ours) is not None
                )
                again = run_both(renamed(small, next(names)), real, ours)
                print(f"seed {seed} ({small.profile}), {len(small.steps)} steps:", flush=True)
                for step in small.steps[4:]:
                    print(f"    {step.what} {step.who} {step.arguments}")
                print(explain(again or found), flush=True)
                if different >= 100:
                    break
    print(f"{count} histories from seed {first}: {different} differ")
    return min(different, 100)


if __name__ == "__main__":
    sys.exit(main())
