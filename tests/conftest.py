"""Under every test: hypothesis draws the same examples in each run, unless `HYPOTHESIS_PROFILE=random` is asked."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("same", derandomize=True, database=None)
settings.register_profile("random", print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))
