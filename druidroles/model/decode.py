"""Typed reading of JSON, with one error that names the field at fault.

Everything the roles read from the tree, the metadata store or HTTP was written by somebody else. `parse_json` reads
text, and each getter below either returns a value of the promised type or raises `ModelError` with the field's name, so
that a reader can report the whole thing as garbage in one place and go on.

Where Druid's mapper (Jackson) takes a value of another type, the getters take it too: the string "18723" and the number
18723.0 are the integer 18723, and "true" is a boolean.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

LONG_CHARACTERS = len(str(-(2**63)))
_TYPE_NAMES = {str: "a string", int: "an integer", bool: "a boolean", dict: "an object", list: "an array"}


class ModelError(ValueError):
    """A payload is not what its type promises; the text names the field and what it should be."""


def _refuse_constant(text: str) -> NoReturn:
    raise ModelError(f"not JSON: {text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ModelError(f"not JSON that can be read: the number {text[:40]} is out of range")
    return number


def json_decoder(pairs: Callable[[list[tuple[str, Any]]], Any] | None = None) -> json.JSONDecoder:
    """A decoder for `parse_json`; `pairs` makes an object of its keys and values."""
    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=_refuse_constant, parse_float=_finite)


_DECODER = json_decoder()
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(data: object, decoder: json.JSONDecoder = _DECODER) -> Any:
    """The JSON in bytes or text. What this returns can be written as JSON in UTF-8 again.

    Raises ModelError for everything else: no JSON, too many brackets, NaN, a number beyond a double, half of a
    surrogate pair.
    """
    try:
        if isinstance(data, bytes | bytearray):
            data = data.decode(json.detect_encoding(data))
        if not isinstance(data, str):
            raise ModelError(f"not JSON: {type(data).__name__} instead of text")
        value = decoder.decode(data)
        if "\\u" in data and _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except ModelError:
        raise
    except UnicodeEncodeError:
        raise ModelError("not JSON: half of a surrogate pair") from None
    except ValueError as error:
        raise ModelError(f"not JSON: {error}") from None
    except RecursionError:
        raise ModelError("not JSON that can be read: nested too deeply") from None
    return value


def only_keys(obj: Mapping[str, Any], known: Collection[str], what: str) -> None:
    """Raise ModelError naming the keys of `obj` that nobody reads: what they ask for would not be done."""
    unknown = sorted(key for key in obj if key not in known)
    if unknown:
        listed = ", ".join(repr(key[:60]) for key in unknown[:5])
        raise ModelError(f"{what} has unknown keys: {listed} (known: {', '.join(sorted(known))})")


def as_object(value: Any, what: str) -> Mapping[str, Any]:
    """`value` if it is a JSON object; raises ModelError naming `what` otherwise."""
    if type(value) is dict or isinstance(value, Mapping):
        return value
    raise ModelError(f"{what} is not an object")


_INTEGER = re.compile(r"\s*[-+]?\d{1,19}\s*", re.ASCII)
_INTEGER_LIMIT = 2.0**63
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def int_of(value: Any) -> int | None:
    """The integer that Jackson makes of a JSON value: digits in a string, a double without its fraction. Else None."""
    if type(value) is int:
        return value
    if type(value) is float and -_INTEGER_LIMIT <= value < _INTEGER_LIMIT:
        return int(value)
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(value)
    return None


def bool_of(value: Any) -> bool | None:
    """The boolean that Jackson makes of a JSON value: of "true" and "false", and of an integer. Else None."""
    if type(value) is bool:
        return value
    if type(value) is int:
        return value != 0
    return _BOOLEANS.get(value.strip()) if type(value) is str else None


def _other(value: Any, key: str, kind: type, default: Any, required: bool) -> Any:
    """What a value that is not just of the type counts as. The getters look first: they are called a million times."""
    if value is None:
        if required:
            raise ModelError(f"{key} is missing")
        return default
    taken: Any = value if isinstance(value, kind) else None
    if kind is int:  # bool is a subclass of int in Python and not in JSON
        taken = int_of(value)
    elif kind is bool:
        taken = bool_of(value)
    if taken is None:
        raise ModelError(f"{key} is not {_TYPE_NAMES[kind]}")
    return taken


def need_str(obj: Mapping[str, Any], key: str) -> str:
    """The string at `key`; raises ModelError if it is missing, null or something else."""
    value: Any = obj.get(key)
    return value if type(value) is str else _other(value, key, str, None, True)


def opt_str(obj: Mapping[str, Any], key: str) -> str | None:
    """The string at `key`, or None where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is str else _other(value, key, str, None, False)


def need_int(obj: Mapping[str, Any], key: str) -> int:
    """The integer at `key`; raises ModelError if it is missing, null or something else."""
    value: Any = obj.get(key)
    return value if type(value) is int else _other(value, key, int, None, True)


def get_int(obj: Mapping[str, Any], key: str, default: int) -> int:
    """The integer at `key`, or `default` where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is int else _other(value, key, int, default, False)


def get_bool(obj: Mapping[str, Any], key: str, default: bool) -> bool:
    """The boolean at `key`, or `default` where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is bool else _other(value, key, bool, default, False)


def get_object(obj: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    """The object at `key`, or None where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is dict else _other(value, key, dict, None, False)


def need_object(obj: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The object at `key`; raises ModelError if it is missing, null or something else."""
    value: Any = obj.get(key)
    return value if type(value) is dict else _other(value, key, dict, None, True)


def get_list(obj: Mapping[str, Any], key: str) -> list[Any]:
    """The array at `key`, or an empty one where it is missing or null."""
    value: Any = obj.get(key)
    return value if type(value) is list else _other(value, key, list, [], False)


def whole_number(text: str) -> int | None:
    """The whole number that a text spells, as in a URL; None where it spells none, or one of more than 64 bits."""
    if len(text) > LONG_CHARACTERS or not (text.isascii() and text.removeprefix("-").isdigit()):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None
