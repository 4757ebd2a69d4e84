"""No body is taken with a key that nobody reads: each endpoint refuses it, or the table says why it need not."""

from __future__ import annotations

from pathlib import Path

import pytest
from role_routes import BODIES, OTHERWISE, ROLES, changing

from druidroles.model.server import NodeRole


@pytest.mark.parametrize("role", ROLES, ids=lambda role: role.value)
def test_the_table_has_every_endpoint_that_changes_something(role: NodeRole, tmp_path: Path) -> None:
    missing = [
        endpoint
        for endpoint in changing(role, tmp_path)
        if endpoint not in BODIES and not endpoint.partition(" ")[2].startswith(OTHERWISE)
    ]
    assert missing == []


def test_the_table_has_no_endpoint_that_is_gone(tmp_path: Path) -> None:
    there = {endpoint for role in ROLES for endpoint in changing(role, tmp_path)}
    assert set(BODIES) - there == set()
