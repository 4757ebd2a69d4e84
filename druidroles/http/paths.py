"""What the path of a request may hold."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from druidroles.http.errors import DruidHttpError, error_response


class RefuseNul:
    """Answers 400 to a path with a NUL character: no id, file or column can hold one, so it names nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and "\x00" in scope["path"]:
            refusal = error_response(DruidHttpError(400, "the path holds the character U+0000 (%00)"))
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)
