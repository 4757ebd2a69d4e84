"""The query resource of a data server: `POST /druid/v2` with the pieces of segments to be read named in it."""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute

from druidroles.query.source import SegmentSource


class QueryResource:
    """Answers queries over segments that are served here.

    Make one per process, hand its routes to the application and close it at the end. Queries run in threads, at most
    `concurrent` at a time; a query is interrupted when its client goes away or its timeout is over.
    """

    def __init__(self, source: SegmentSource, *, host: str, temp_dir: Path, concurrent: int = 4) -> None:
        self._source = source

    def routes(self) -> list[BaseRoute]:
        """The routes to serve."""
        return []

    def close(self) -> None:
        """Give back what the engine holds. Queries that run are interrupted."""
