"""What is known of a setting beside its value: from this its flag, its checks and its documentation are drawn."""

from __future__ import annotations

from typing import Any

import attrs

_KEY = "setting"


@attrs.frozen(kw_only=True)
class Setting:
    """One setting. `unit`: ms, bytes or nothing. `zoo_key`: the key of ZooKeeper's zoo.cfg that means it.

    `least` and `most` bound a number, `choices` a word. A `secret` is shown to nobody.
    """

    about: str
    unit: str = ""
    zoo_key: str = ""
    least: int | None = None
    most: int | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False


def setting(default: Any, about: str, **more: Any) -> Any:
    """A field of a frozen class of settings, with its default."""
    return attrs.field(default=default, metadata={_KEY: Setting(about=about, **more)})


def required(about: str, **more: Any) -> Any:
    """A field without a default."""
    return attrs.field(metadata={_KEY: Setting(about=about, **more)})


def setting_of(attribute: attrs.Attribute[Any]) -> Setting:
    """What is known of a field."""
    found: Setting = attribute.metadata[_KEY]
    return found
