"""What a query can fail with: Druid's QueryException codes and the HTTP status that goes with each.

The codes are those of org.apache.druid.query.QueryException; clients tell failures apart by them.
"""

from __future__ import annotations

from typing import Any

from druidroles.http.errors import DruidHttpError

_PACKAGE = "org.apache.druid.query"


# Druid's category of each code; of what is told with it since release 26, see `QueryError.body`.
_CATEGORIES = {
    "Query context parse failed": "INVALID_INPUT",
    "Resource limit exceeded": "INVALID_INPUT",
    "Query capacity exceeded": "CAPACITY_EXCEEDED",
    "Query timeout": "TIMEOUT",
    "Query cancelled": "CANCELED",
    "Unsupported operation": "UNSUPPORTED",
    "Unknown exception": "RUNTIME_FAILURE",
}


class QueryError(DruidHttpError):
    """A query that gets Druid's error body instead of a result."""

    def body(self) -> dict[str, Any]:
        """Druid's body. A query that could be read gets a category besides, by which tools tell failures apart."""
        told = super().body()
        category = _CATEGORIES.get(self.error)
        if category is None:
            return told
        context = {"host": self.host, "errorClass": self.error_class, "legacyErrorCode": self.error}
        return {
            **told,
            "errorCode": "legacyQueryException",
            "persona": "OPERATOR",
            "category": category,
            "context": context,
        }


class BadQueryError(QueryError):
    """The query is malformed: 400. The message names the field at fault."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message, error="Json parse failed", error_class=f"{_PACKAGE}.BadJsonQueryException")


class BadContextError(BadQueryError):
    """The query's context is malformed: 400. The message names the key at fault."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.error = "Query context parse failed"
        self.error_class = f"{_PACKAGE}.BadQueryContextException"


class UnsupportedQueryError(QueryError):
    """The query asks for something that is not there: 501. The message names it."""

    def __init__(self, message: str) -> None:
        super().__init__(
            501, message, error="Unsupported operation", error_class=f"{_PACKAGE}.QueryUnsupportedException"
        )


class ResourceLimitError(QueryError):
    """The query would need more than one may take: 400. The message names the limit."""

    def __init__(self, message: str) -> None:
        super().__init__(
            400, message, error="Resource limit exceeded", error_class=f"{_PACKAGE}.ResourceLimitExceededException"
        )


class CapacityError(QueryError):
    """Too many queries at once: 429. Later it may work."""

    def __init__(self, message: str) -> None:
        super().__init__(
            429, message, error="Query capacity exceeded", error_class=f"{_PACKAGE}.QueryCapacityExceededException"
        )


class QueryTimeoutError(QueryError):
    """The query ran into its timeout: 504."""

    def __init__(self, timeout_ms: int) -> None:
        super().__init__(
            504,
            f"the query did not end within its timeout of {timeout_ms} ms",
            error="Query timeout",
            error_class=f"{_PACKAGE}.QueryTimeoutException",
        )


class QueryCancelledError(QueryError):
    """Somebody cancelled the query: 500, as in Druid."""

    def __init__(self) -> None:
        super().__init__(
            500, "the query was cancelled", error="Query cancelled", error_class=f"{_PACKAGE}.QueryInterruptedException"
        )


class SegmentMissingError(QueryError):
    """Segments that belong into the answer are served nowhere: 500. Less than all of it is never passed off as all."""

    def __init__(self, message: str) -> None:
        super().__init__(
            500,
            message,
            error="Unknown exception",
            error_class="org.apache.druid.segment.SegmentMissingException",
        )


class QueryFailedError(QueryError):
    """The query failed where it ran: 500. The message says how."""

    def __init__(self, message: str, *, error_class: str | None = None) -> None:
        super().__init__(500, message, error="Unknown exception", error_class=error_class)
