"""Reading what a request says in its path and its query, with errors that name the parameter."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request

from druidroles.http.errors import DruidHttpError
from druidroles.model.decode import ModelError, whole_number
from druidroles.model.interval import Interval

ROOT = "/druid/coordinator/v1"


def has_flag(request: Request, name: str) -> bool:
    """Druid's query flags count by being there: `?simple`, `?simple=anything`."""
    return name in request.query_params


def flag_is_true(request: Request, name: str, default: bool) -> bool:
    """A query parameter that is true or false; without a value it is true."""
    value = request.query_params.get(name)
    return default if value is None else value.lower() in ("", "true")


def count_param(request: Request, name: str, default: int) -> int:
    """A query parameter that is a positive number. DruidHttpError 400 if it is none."""
    text = request.query_params.get(name)
    if text is None:
        return default
    count = whole_number(text)
    if count is None or count <= 0:
        raise DruidHttpError(400, f"{name} is not a positive number")
    return count


def to_interval(name: str, text: Any) -> Interval:
    """An interval in which `_` may stand for `/`, as it must in a path. DruidHttpError 400 that names where it is."""
    if not isinstance(text, str):
        raise DruidHttpError(400, f"{name} is not a string")
    try:
        return Interval.parse(text.replace("_", "/"))
    except ModelError as error:
        raise DruidHttpError(400, f"{name}: {error}") from error


def interval_param(request: Request) -> Interval | None:
    """The query parameter `interval`."""
    text = request.query_params.get("interval")
    return None if text is None else to_interval("interval", text)
