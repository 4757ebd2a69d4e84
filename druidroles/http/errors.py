"""Druid's error body and the exceptions that become one (Druid documentation, "Native queries", Query errors)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class DruidHttpError(Exception):
    """An answer that is an error: `status` and Druid's body {error, errorMessage, errorClass, host}.

    `error` is Druid's short code ("Unsupported operation", "Unknown exception"); `message` names the field or limit.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        error: str = "Bad request",
        error_class: str | None = None,
        host: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.error = error
        self.message = message
        self.error_class = error_class
        self.host = host

    def body(self) -> dict[str, Any]:
        """The JSON object that Druid's clients expect."""
        return {"error": self.error, "errorMessage": self.message, "errorClass": self.error_class, "host": self.host}


def error_response(error: DruidHttpError) -> Response:
    """The response for an error."""
    return JSONResponse(error.body(), status_code=error.status)


async def handle_druid_error(request: Request, error: Exception) -> Response:
    """starlette's handler for DruidHttpError."""
    if not isinstance(error, DruidHttpError):
        raise error
    return error_response(error)


async def handle_not_found(request: Request, error: Exception) -> Response:
    """starlette's handler for an unknown path."""
    return error_response(DruidHttpError(404, f"no resource at {request.url.path}", error="Not found"))


async def handle_method_not_allowed(request: Request, error: Exception) -> Response:
    """starlette's handler for a known path with another method."""
    return error_response(
        DruidHttpError(405, f"{request.method} is not allowed on {request.url.path}", error="Method not allowed")
    )


async def handle_unexpected(request: Request, error: Exception) -> Response:
    """starlette's handler for our own fault: the body says so without inner detail beyond the error's text."""
    return error_response(
        DruidHttpError(
            500, str(error) or type(error).__name__, error="Unknown exception", error_class=type(error).__name__
        )
    )
