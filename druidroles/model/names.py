"""What a name may hold: ids of tasks and segments, datasources, versions, tiers, hosts.

Most names become the name of a znode, of a directory, of a part of a URL and a value in a column of 255 characters. So
one rule holds for all of them, at the place where a name is taken; it is Druid's (IdUtils.validateId), which refuses
what ZooKeeper refuses in a path.
"""

from __future__ import annotations

from coordserver.core.model.paths import is_valid_name
from druidroles.model.decode import ModelError

NAME_CHARS_MAX = 255


def name_fault(text: str) -> str | None:
    """Why `text` cannot be a name, as the end of a sentence about it; None if it can be one."""
    if text.isascii() and text.isprintable() and "/" not in text and text[:1] not in ("", ".", " "):
        return _too_long(text)
    if not text.strip():
        return "is empty"
    if text.startswith("."):
        return "begins with a dot"
    if "/" in text:
        return "has a slash"
    if not is_valid_name(text):
        at, character = next((i, ch) for i, ch in enumerate(text) if not is_valid_name(f"a{ch}"))
        return f"has the character U+{ord(character):04X} at position {at}, which no path in the tree can hold"
    return _too_long(text)


def _too_long(text: str) -> str | None:
    return f"is longer than {NAME_CHARS_MAX} characters" if len(text) > NAME_CHARS_MAX else None


def check_name(text: str, field: str) -> str:
    """`text` if it can be a name; raises ModelError naming the field and what is wrong with it."""
    fault = name_fault(text)
    if fault is not None:
        shown = ascii(text if len(text) <= NAME_CHARS_MAX else f"{text[:40]}...")
        raise ModelError(f"{field} {fault}" if fault == "is empty" else f"{field} {shown} {fault}")
    return text
