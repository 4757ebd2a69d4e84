"""What an ACL grants to whom, looked up and not searched: an ACL may have been stored with any number of entries.

A short ACL is searched in less time than this takes. A long one is read once, when it is first judged, for all znodes
that share it; each judgement then costs as much as there are identities, and the last is remembered.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable

from coordserver.core.model.acl import ACL

SUPER = "super"
FEW = 8
"""As many entries are searched one by one."""

_BITS_DIGITS = 10  # as many as Integer.parseInt needs
_EVERYTHING = -1


class AclList(tuple[ACL, ...]):
    """An ACL as the tree keeps it."""

    _grants: _Grants | None = None
    _judged: tuple[Iterable[tuple[str, str]], int] | None = None

    def rights(self, identities: Iterable[tuple[str, str]]) -> int:
        """The bits that `identities` have together."""
        judged = self._judged
        if judged is not None and judged[0] is identities:
            return judged[1]
        grants = self._grants
        if grants is None:
            grants = self._grants = _Grants(self)
        rights = grants.rights(identities)
        if type(identities) is tuple:  # which cannot change
            self._judged = identities, rights
        return rights


class _Grants:
    """Bits by identity, those of networks by length of prefix and prefix."""

    __slots__ = ("_by_identity", "_by_network", "_everybody")

    def __init__(self, acl: AclList) -> None:
        self._everybody = 0
        self._by_identity: dict[tuple[str, str], int] = {}
        self._by_network: dict[tuple[int, int], dict[int, int]] = {}
        for perms, scheme, name in acl:
            if scheme == "world" and name == "anyone":
                self._everybody |= perms
            key = scheme, name
            self._by_identity[key] = self._by_identity.get(key, 0) | perms
            network = parse_ip(name) if scheme == "ip" else None
            if network is not None:
                version, address, bits = network
                prefixes = self._by_network.setdefault((version, bits), {})
                prefix = address >> _width(version) - bits
                prefixes[prefix] = prefixes.get(prefix, 0) | perms

    def rights(self, identities: Iterable[tuple[str, str]]) -> int:
        """The bits that `identities` have together."""
        rights = self._everybody
        for scheme, name in identities:
            if scheme == SUPER:
                return _EVERYTHING
            rights |= self._by_identity.get((scheme, name), 0)
            own = parse_ip(name) if scheme == "ip" and self._by_network else None
            if own is not None:
                for (version, bits), prefixes in self._by_network.items():
                    if version == own[0]:
                        rights |= prefixes.get(own[1] >> _width(version) - bits, 0)
        return rights


def ip_matches(scheme: str, own: str, entry: str) -> bool:
    """Whether the address `own` lies in the network of an entry, if the scheme is ip."""
    if scheme != "ip":
        return False
    address, network = parse_ip(own), parse_ip(entry)
    if address is None or network is None or address[0] != network[0]:
        return False
    shift = _width(network[0]) - network[2]
    return address[1] >> shift == network[1] >> shift


@functools.lru_cache(maxsize=1024)
def parse_ip(text: str) -> tuple[int, int, int] | None:
    """(version, address, prefix length) of `address[/bits]`, or None if it is not one."""
    host, slash, bits = text.partition("/")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    width = address.max_prefixlen
    if not slash:
        return address.version, int(address), width
    if not (bits.isascii() and bits.isdigit() and len(bits) <= _BITS_DIGITS) or int(bits) > width:
        return None
    return address.version, int(address), int(bits)


def _width(version: int) -> int:
    return 32 if version == 4 else 128
