"""Who may ask a role over HTTP: no stranger's page, no body of another type than JSON, no change without credentials.

A page in a browser on the machine may send requests to a role, even where it cannot read the answers: `core/web.py`
tells such requests. A body is JSON and says so, as Druid's resources require (415 otherwise). A browser asks before it
sends that type to another origin, and no role consents. Where credentials are configured, whatever is no read needs
them (Basic, RFC 7617); the roles show them to one another.
"""

from __future__ import annotations

import base64
import hmac
import json
import os
import socket
from collections.abc import Collection, Mapping

import attrs
from starlette.types import ASGIApp, Receive, Scope, Send

from coordserver.core.model.web import WebPolicy
from druidroles.http.errors import DruidHttpError, error_response

VARIABLE = "COORD_HTTP_ACCESS"
JSON_TYPES = frozenset({"application/json"})
QUERY_TYPES = JSON_TYPES | {"application/x-jackson-smile", "application/smile"}
"""What Druid's Brokers take; a Router passes it on."""
_READS = ("GET", "HEAD", "OPTIONS")
_QUERIES = "/druid/v2"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="druid"'}


@attrs.frozen(kw_only=True)
class HttpAccess:
    """`allowed_hosts`: further names by which a role is called, and whose pages may ask. `credentials`: USER:PASSWORD
    that changes need; None: they need none.
    """

    allowed_hosts: tuple[str, ...] = ()
    credentials: str | None = attrs.field(default=None, repr=False)

    def policy(self, own: Collection[str]) -> WebPolicy:
        """The rule for a process that is called by its `own` names."""
        allowed = frozenset(name.lower() for name in self.allowed_hosts)
        return WebPolicy(allowed | {name.lower() for name in (socket.gethostname(), *own)}, allowed)

    def headers(self) -> dict[str, str]:
        """What a role shows to other roles."""
        if self.credentials is None:
            return {}
        return {"authorization": "Basic " + base64.b64encode(self.credentials.encode()).decode("ascii")}

    def environment(self) -> dict[str, str]:
        """What a process started by this one must have in its environment to have the same."""
        return {} if self == HttpAccess() else {VARIABLE: json.dumps([self.allowed_hosts, self.credentials])}

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> HttpAccess:
        """What `environment` said."""
        text = environment.get(VARIABLE)
        if text is None:
            return cls()
        hosts, credentials = json.loads(text)
        return cls(allowed_hosts=tuple(hosts), credentials=credentials)


class Guard:
    """An ASGI application around another one, which sees only what may be asked."""

    def __init__(
        self, app: ASGIApp, *, access: HttpAccess, own: Collection[str], types: Collection[str] = JSON_TYPES
    ) -> None:
        """`own`: the names of this process. `types`: the media types of bodies."""
        self._app = app
        self._policy = access.policy(own)
        self._shown = access.headers().get("authorization")
        self._types = types

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        refused = self._refusal(scope) if scope["type"] == "http" else None
        if refused is None:
            await self._app(scope, receive, send)
            return
        response = error_response(refused)
        if refused.status == 401:
            response.headers.update(_CHALLENGE)
        await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> DruidHttpError | None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        stranger = self._policy.refusal(headers.get("host"), headers.get("origin"))
        if stranger is not None:
            return DruidHttpError(403, f"{stranger} (--allowed-host names more)", error="Forbidden")
        if not self._has_type(headers):
            kinds = ", ".join(sorted(self._types))
            return DruidHttpError(
                415,
                f"Content-Type {headers['content-type']!r}: the request body must be {kinds}",
                error="Unsupported Media Type",
            )
        if self._shown is not None and self._needs_credentials(scope):
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("latin-1"), self._shown.encode("latin-1")):
                return DruidHttpError(
                    401, "a change needs an Authorization header: Basic USER:PASSWORD", error="Unauthorized"
                )
        return None

    def _has_type(self, headers: Mapping[str, str]) -> bool:
        """A body of no type is taken, as Druid takes it; a browser that sends one says its origin."""
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0").strip() != "0"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return not has_body or not kind or kind in self._types

    def _needs_credentials(self, scope: Scope) -> bool:
        path = scope["path"]
        is_query = scope["method"] == "POST" and (path == _QUERIES or path.startswith(f"{_QUERIES}/"))
        return scope["method"] not in _READS and not is_query
