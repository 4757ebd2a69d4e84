"""Segments built once, and a tree."""

from __future__ import annotations

import pytest
from segment_files import build, pieces, shipped_task
from tree_sessions import eventually, expire, other, paths, scheme, server, zk

from druidroles.query.relation import Piece

__all__ = ["eventually", "expire", "other", "paths", "scheme", "server", "zk"]


@pytest.fixture(scope="session")
def flights(tmp_path_factory: pytest.TempPathFactory) -> list[Piece]:
    """The shipped month of flights, a piece a day."""
    return pieces(build(shipped_task(), tmp_path_factory.mktemp("flights") / "work"))
