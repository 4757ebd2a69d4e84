"""Znode paths: what is legal, and how they are taken apart.

A path is a string that begins with `/`; only the root ends with one. The rules are those of ZooKeeper's
org.apache.zookeeper.common.PathUtils.validatePath. A tree is keyed by whole paths, so a path whose parent exists is
legal exactly when its last component is (and it does not begin with two slashes): this is what apply checks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

ROOT = "/"
ZOOKEEPER = "/zookeeper"
QUOTA = "/zookeeper/quota"
CONFIG = "/zookeeper/config"
SYSTEM_PATHS = frozenset({ROOT, ZOOKEEPER, QUOTA, CONFIG})
"""Znodes that nobody may delete (DataTree.isSpecialPath and PrepRequestProcessor)."""

# ZooKeeper judges UTF-16 units: surrogates are refused, and with them every character above U+FFFF.
_FORBIDDEN = "\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\U0010ffff"
_name_matches = re.compile(f"(?!\\.{{1,2}}$)[^/{_FORBIDDEN}]+", re.DOTALL).fullmatch
_path_matches = re.compile(f"(?:/(?!\\.{{1,2}}(?:/|$))[^/{_FORBIDDEN}]+)+", re.DOTALL).fullmatch


def is_valid_name(name: str) -> bool:
    """Whether `name` may be the last component of a path."""
    if name.isascii() and name.isprintable() and "/" not in name and name[:1] not in ("", "."):
        return True  # nearly always, and in a third of the time
    return _name_matches(name) is not None


def is_valid(path: str) -> bool:
    """Whether `path` is legal as a whole (PathUtils.validatePath)."""
    plain = path.isascii() and path.isprintable() and path[:1] == "/" and path[-1] != "/"
    if plain and "/." not in path and "//" not in path:
        return True  # nearly always, and in a third of the time
    return path == ROOT or _path_matches(path) is not None


def parent_of(path: str) -> str:
    """The parent's path; of the root, the root."""
    return path[: path.rfind("/")] or ROOT


def name_of(path: str) -> str:
    """The last component."""
    return path[path.rfind("/") + 1 :]


def join(parent: str, name: str) -> str:
    """The path of a child."""
    return f"/{name}" if parent == ROOT else f"{parent}/{name}"


def ancestors(path: str) -> Iterator[str]:
    """The parent, its parent, and so on; the root last. Of the root: nothing."""
    while path != ROOT:
        path = path[: path.rfind("/")] or ROOT
        yield path


def is_within(path: str, root: str) -> bool:
    """Whether `path` is `root` or lies below it."""
    return root in (path, ROOT) or path.startswith(root + "/")
