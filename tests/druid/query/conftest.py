"""Flights as segments, built once, and an engine to read them with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from segment_files import build, pieces, shipped_task

from druidroles.query.engine import Engine
from druidroles.query.relation import Piece


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine."""
    made = Engine(tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    """The shipped month of flights, a piece a day."""
    return pieces(build(shipped_task(), tmp_path_factory.mktemp("flights") / "work"))
