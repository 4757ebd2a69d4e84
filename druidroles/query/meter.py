"""What is counted of queries, on Brokers and data servers alike, under Druid's names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from druidroles.http.metrics import Metrics
from druidroles.query.errors import QueryCancelledError, QueryTimeoutError
from druidroles.query.model import Query


class QueryMeter:
    """Made once for a process' metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._time = metrics.timer("query/time", "how long queries took, failed ones too")
        self._all = metrics.counter("query/count", "queries that ended")
        self._good = metrics.counter("query/success/count", "queries that were answered")
        self._failed = metrics.counter("query/failed/count", "queries that failed")
        self._timeout = metrics.counter("query/timeout/count", "queries that took too long")
        self._interrupted = metrics.counter("query/interrupted/count", "queries that were cancelled")

    @contextmanager
    def measured(self, query: Query) -> Iterator[None]:
        """Count the query that the block answers."""
        outcome = self._interrupted
        try:
            with self._time.time(dataSource=query.data_source, type=_type(query)):
                yield
            outcome = self._good
        except QueryTimeoutError:
            outcome = self._timeout
            raise
        except QueryCancelledError:
            raise
        except Exception:
            outcome = self._failed
            raise
        finally:
            outcome.add()
            self._all.add()


def _type(query: Query) -> str:
    name = type(query).__name__.removesuffix("Query")
    return name[0].lower() + name[1:]
