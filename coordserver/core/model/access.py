"""Who may do what: evaluation of ACLs, their check on the way in, and the identities of credentials.

Rules of ZooKeeper's server (PrepRequestProcessor.checkACL and fixupACL, the AuthenticationProvider classes): entries
only ever add rights, nothing is inherited, and an entry counts when one of the connection's identities matches it.
Identities and entries are taken by position, because those that come from a log are plain tuples.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
from collections.abc import Iterable, Sequence

from coordserver.core.model.acl import ACL, ADMIN, OPEN_ACL_UNSAFE, Identity
from coordserver.core.model.errors import AuthFailedError, InvalidACLError, LimitExceededError
from coordserver.core.model.grants import FEW, SUPER, AclList, ip_matches, parse_ip

X509 = "x509"
ENFORCEABLE_SCHEMES = frozenset({"digest", "ip", X509})
"""Schemes that a server may demand."""
_SCHEME_SHOWN = 64
AUTHENTICATED_SCHEMES = frozenset({"digest", "sasl", "x509"})
"""Schemes whose identities an entry of scheme `auth` stands for; ip proves nothing about who one is."""

IDENTITIES_MAX = 64
"""What a connection may be at once: it is in the record of its every write."""
IDENTITY_BYTES_MAX = 1024
"""Of the id of one that a client shows; a certificate's subject is as long as it is."""

_SHARED_CHARACTERS = 1024
"""ACLs of more are shared too, but few of them are kept that no znode has any more."""


def allowed(acl: Sequence[tuple[int, str, str]], permission: int, identities: Iterable[tuple[str, str]]) -> bool:
    """Whether any of `identities` has one of the bits of `permission`. An empty ACL allows all, `super` may all."""
    if not acl:
        return True
    if len(acl) > FEW and type(acl) is AclList:
        return acl.rights(identities) & permission != 0
    for perms, scheme, name in acl:
        if perms & permission and scheme == "world" and name == "anyone":
            return True
    for own_scheme, own_id in identities:
        if own_scheme == SUPER:
            return True
        for perms, scheme, name in acl:
            if perms & permission and scheme == own_scheme and (name == own_id or ip_matches(scheme, own_id, name)):
                return True
    return False


def intern_acl(acl: Iterable[tuple[int, str, str]] | None) -> tuple[ACL, ...]:
    """An ACL as the tree keeps it; every open one is the very same object, so that `is` recognises it."""
    if acl is None:
        return OPEN_ACL_UNSAFE
    if type(acl) is AclList:
        return acl
    settled = AclList(ACL(*entry) for entry in acl)
    long = len(settled) > FEW or sum(len(entry.id) for entry in settled) > _SHARED_CHARACTERS
    return _share_long(settled) if long else _share(settled)


@functools.lru_cache(maxsize=4096)
def _share(acl: AclList) -> tuple[ACL, ...]:
    return OPEN_ACL_UNSAFE if acl == OPEN_ACL_UNSAFE else acl


@functools.lru_cache(maxsize=64)
def _share_long(acl: AclList) -> AclList:
    return acl


def fixup(
    acl: Iterable[tuple[int, str, str]] | None, identities: Iterable[tuple[str, str]], path: str, *, x509: bool = False
) -> tuple[ACL, ...]:
    """The ACL to store: duplicates removed, `auth` replaced by the connection's proven identities. None means open.

    `x509`: whether entries of that scheme are legal here.

    Raises InvalidACLError for an empty list, an unknown scheme, an id that its scheme does not accept, or `auth` where
    nothing is proven (PrepRequestProcessor.fixupACL).
    """
    if acl is None:
        return OPEN_ACL_UNSAFE
    kept: dict[ACL, None] = {}
    for perms, scheme, name in acl:
        if scheme == "auth":
            proven = [ACL(perms, *identity) for identity in identities if identity[0] in AUTHENTICATED_SCHEMES]
            if not proven:
                raise InvalidACLError(path, "auth without proven identity")
            kept.update(dict.fromkeys(proven))
        elif _is_legal(scheme, name) or (x509 and scheme == X509 and "=" in name):
            kept[ACL(perms, scheme, name)] = None
        else:
            raise InvalidACLError(path, f"{scheme}:{name}")
    if not kept:
        raise InvalidACLError(path, "empty")
    return intern_acl(kept)


def _is_legal(scheme: str, name: str) -> bool:
    if scheme == "world":
        return name == "anyone"
    if scheme == "digest":
        return name.count(":") == 1
    if scheme == "ip":
        return parse_ip(name) is not None
    return False


def digest_identity(credentials: bytes) -> Identity:
    """The identity of `user:password` (DigestAuthenticationProvider): base64 of SHA-1 over the whole."""
    user = credentials.partition(b":")[0].decode("utf-8", "replace")
    digest = base64.b64encode(hashlib.sha1(credentials, usedforsecurity=False).digest()).decode("ascii")
    return Identity("digest", f"{user}:{digest}")


class Credentials:
    """Turns what a client shows into identities.

    `super_digest` is the `user:hash` of the super user, `super_x509` the subject of the super user's certificate; empty
    for none (DigestAuthenticationProvider.superDigest, X509AuthenticationProvider.superUser). `enforced` are schemes of
    which a connection must have proven one before anything is done for it; none: anybody is served.
    """

    def __init__(self, super_digest: str = "", super_x509: str = "", enforced: Iterable[str] = ()) -> None:
        self._super_digest = super_digest
        self._super_x509 = super_x509
        self._enforced = frozenset(enforced)

    def connection(self, host: str, subject: str = "") -> tuple[Identity, ...]:
        """What a connection is by itself: its address, and the subject of its certificate if it showed one."""
        identities = [Identity("ip", host)]
        if subject:
            identities.append(Identity(X509, subject))
            if subject == self._super_x509:
                identities.append(Identity(SUPER, ""))
        return tuple(identities)

    def suffice(self, identities: Iterable[tuple[str, str]]) -> bool:
        """Whether a connection with these identities is served (AuthenticationHelper.enforceAuthentication)."""
        return not self._enforced or any(scheme in self._enforced for scheme, _ in identities)

    def authenticate(
        self, scheme: str, auth: bytes, held: tuple[Identity, ...], connection: tuple[Identity, ...]
    ) -> tuple[Identity, ...]:
        """`held` and what `auth` proves beside them; the very same tuple where that is nothing new.

        `connection` as for `identities`. Raises AuthFailedError for a scheme that is not known, LimitExceededError for
        identities that are too many or too long.
        """
        proven = self.identities(scheme, auth, connection)
        if proven is None:
            raise AuthFailedError("", f"scheme {scheme[:_SCHEME_SHOWN]}")
        more = tuple(identity for identity in proven if identity not in held)
        if not more:
            return held
        if len(held) + len(more) > IDENTITIES_MAX:
            raise LimitExceededError("", f"at most {IDENTITIES_MAX} identities")
        for identity in more:
            size = len(identity.id.encode())
            if size > IDENTITY_BYTES_MAX:
                raise LimitExceededError("", f"identity: {size} bytes, at most {IDENTITY_BYTES_MAX}")
        return held + more

    def identities(self, scheme: str, auth: bytes, connection: tuple[Identity, ...]) -> tuple[Identity, ...] | None:
        """What `auth` proves under a scheme; None where the scheme is none that a client can authenticate with.

        `connection` are the identities that the connection has by itself: scheme ip names its address again.
        """
        if scheme == "digest":
            proven = digest_identity(auth)
            if self._super_digest and hmac.compare_digest(proven.id.encode(), self._super_digest.encode()):
                return Identity(SUPER, ""), proven
            return (proven,)
        if scheme == "ip":
            return tuple(identity for identity in connection if identity.scheme == "ip")
        return None


def user_of(identity: tuple[str, str]) -> str:
    """What whoAmI shows of an identity: a digest's user, otherwise the id itself."""
    scheme, name = identity
    return name.partition(":")[0] if scheme == "digest" else name


def masked(acl: tuple[ACL, ...], identities: Iterable[tuple[str, str]]) -> tuple[ACL, ...]:
    """What getACL may show: without ADMIN every digest's hash is `x` (FinalRequestProcessor.handleGetACLRequest)."""
    if acl is OPEN_ACL_UNSAFE or allowed(acl, ADMIN, identities):
        return acl
    return tuple(
        ACL(perms, scheme, f"{name.partition(':')[0]}:x" if scheme == "digest" else name) for perms, scheme, name in acl
    )
