"""Which processes the quickstart starts, on which ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.quickstart.layout import LayoutError, plan


def test_ports_are_druids_defaults() -> None:
    """Druid documentation, "Ports": and a second instance of a role is 100 higher."""
    layout = plan(Path("/x"))
    assert {spec.name: spec.port for spec in (layout.server, *layout.roles)} == {
        "server": 2181,
        "coordinator": 8081,
        "coordinator-2": 8181,
        "broker": 8082,
        "historical": 8083,
        "historical-2": 8183,
        "overlord": 8090,
        "middlemanager": 8091,
        "router": 8888,
    }
    assert layout.task_ports == (8100, 8101)
    assert len(set(layout.ports)) == len(layout.ports)


def test_an_offset_moves_every_port() -> None:
    """Two clusters stand side by side."""
    here, there = plan(Path("/x")), plan(Path("/y"), 1000)
    assert [port + 1000 for port in here.ports] == list(there.ports)
    for spec in (there.server, *there.roles):
        assert str(spec.port) in " ".join(spec.arguments)
    assert not any("2181" in argument for spec in there.roles for argument in spec.arguments if "3181" not in argument)


@pytest.mark.parametrize("offset", [-1000, 1, 999, 57000])
def test_an_offset_that_cannot_be_is_refused_by_name(offset: int) -> None:
    """The message names the flag and the value."""
    with pytest.raises(LayoutError, match=f"--port-offset {offset}"):
        plan(Path("/x"), offset)
