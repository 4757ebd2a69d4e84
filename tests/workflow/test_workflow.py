"""The main job with real processes: every step is watched in the tree while it happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from clusters import Cluster, Witness
from watched_job import watched_job

pytestmark = [pytest.mark.workflow, pytest.mark.timeout(150)]


async def test_the_main_job_and_every_step_of_it(
    cluster: Cluster, witness: Witness, connecting: Callable[..., Any]
) -> None:
    await cluster.whole()
    async with connecting(cluster.coord) as zk:
        await watched_job(cluster, witness, zk)
