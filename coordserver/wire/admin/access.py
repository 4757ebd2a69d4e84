"""Who may ask the server what, by four-letter words and by HTTP: the one place from which both are answered.

HTTP: `/livez` and `/readyz`, `/metrics` (Prometheus), `/commands` and `/commands/NAME` (ZooKeeper's AdminServer). A
command that changes something needs an Authorization whose identity has every right on the root, and is refused where
a browser may have been tricked into it (`core/web.py`).

Answers that grow with what there is (listings) are bounded in number: `LISTINGS_AT_ONCE`. Each is drawn in slices by
its connection, and no faster than its reader takes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from attrs import define, field

from coordserver.core.model.web import WebPolicy
from coordserver.wire.admin import commands, fourletter, http, snapshot
from coordserver.wire.admin.commands import Command, CommandError
from coordserver.wire.admin.http import Piece, Request, Response
from coordserver.wire.admin.metrics import exposition
from coordserver.wire.admin.monitoring import ServerView

LISTINGS_AT_ONCE = 8
_COMMANDS = "/commands"
_BUSY = "too many listings at once, ask again"
_SNAPSHOT = Response(200, http.JSON, "")
"""In the place of a response that can be given only later."""

_P = TypeVar("_P", str, Piece)
_UNAUTHORIZED = (("WWW-Authenticate", "digest"),)


@define
class Admin:
    """Answers for one server. `words` are the four-letter words that are allowed, `commands` whether `/commands` is
    there, `hosts` the names by which the server may be called beside addresses and localhost. `local`: only this
    machine can connect, so that a web page which a browser on it shows is a stranger to commands that only tell, too.
    """

    view: ServerView
    words: frozenset[str]
    commands: bool = True
    hosts: frozenset[str] = frozenset()
    local: bool = False
    _listings: int = field(default=0, init=False)

    def takes_argument(self, word: bytes) -> bool:
        """Whether bytes behind the word are waited for; not where the word is refused."""
        return word == fourletter.TAKES_ARGUMENT and word.decode("ascii") in self.words

    def word(self, word: bytes, argument: bytes) -> Iterator[str] | None:
        """The pieces of an answer; None for an unknown word."""
        if word not in fourletter.WORDS:
            return None
        if word.decode("ascii") not in self.words:
            return iter((fourletter.refusal(word),))
        if word not in fourletter.LISTINGS:
            return fourletter.answer(word, argument, self.view)
        if self._listings >= LISTINGS_AT_ONCE:
            return iter((_BUSY + "\n",))
        return self._listing(fourletter.answer(word, argument, self.view))

    def http(
        self,
        data: bytes | bytearray,
        identities: Sequence[tuple[str, str]],
        woken: Callable[[], None] = lambda: None,
    ) -> Iterator[Piece] | None:
        """The pieces of a response once the request's head is complete; None before. `identities`: what the connection
        is by itself. `woken` is called when there is more behind a piece that is None. Raises WireError for a head that
        is too long.
        """
        request = http.parse(data)
        if request is None:
            return None
        if isinstance(request, Response):
            return request.pieces(with_body=True)
        response = self._respond(request, identities)
        if response is _SNAPSHOT:
            streaming = request.query.get(snapshot.STREAMING, "true").lower() == "true"
            return self._listing(snapshot.answer(self.view.take_snapshot(woken), streaming=streaming))
        return response.pieces(with_body=request.method != "HEAD")

    def _respond(self, request: Request, identities: Sequence[tuple[str, str]]) -> Response:
        path = request.path
        if self.commands and (path == _COMMANDS or path.startswith(f"{_COMMANDS}/")):
            name = path.removeprefix(_COMMANDS).removeprefix("/")
            return self._command(name, request, identities) if name else _index(request)
        if path not in ("/livez", "/readyz", "/metrics"):
            return http.text(404, "not found")
        if request.method == "POST":
            return _not_allowed("GET, HEAD")
        if path == "/metrics":
            return Response(200, http.PROMETHEUS, exposition(self.view.facts()))
        if path == "/readyz" and not self.view.serving:
            return http.text(503, "not serving")
        return http.text(200, "ok")

    def _command(self, name: str, request: Request, identities: Sequence[tuple[str, str]]) -> Response:
        command = commands.BY_NAME.get(name)
        if command is None:
            return _error(200, name, f"Unknown command: {name}")
        name = command.names[0]
        if command.changes:
            if request.method == "HEAD":
                return _not_allowed("GET, POST")
            refused = self._refuse_change(name, request, identities)
            if refused is not None:
                return refused
        elif request.method == "POST":
            return _not_allowed("GET, HEAD")
        elif self.local and (stranger := self._stranger(request)) is not None:
            return _error(403, name, stranger)
        if not command.always and not self.view.serving:
            return _error(200, name, fourletter.NOT_SERVING.strip())
        if command.long and self._listings >= LISTINGS_AT_ONCE:
            return _error(503, name, _BUSY)
        if command.names is snapshot.NAMES:
            return _SNAPSHOT
        try:
            body = _body(command, command.members(self.view, request.query))
        except CommandError as fault:
            return _error(fault.status, name, str(fault))
        return Response(200, http.JSON, self._listing(body) if command.long else "".join(body))

    def _stranger(self, request: Request) -> str | None:
        return WebPolicy(self.hosts).refusal(request.headers.get("host"), request.headers.get("origin"))

    def _refuse_change(self, name: str, request: Request, identities: Sequence[tuple[str, str]]) -> Response | None:
        if (stranger := self._stranger(request)) is not None:
            return _error(403, name, stranger)
        credentials = request.headers.get("authorization", "")
        allowed = self.view.may_administer(credentials, identities)
        if allowed is None:
            return _error(401, name, "an Authorization header is needed: digest USER:PASSWORD", _UNAUTHORIZED)
        return None if allowed else _error(403, name, "refused: not every right on /")

    def _listing(self, pieces: Iterator[_P]) -> Iterator[_P]:
        self._listings += 1
        try:
            yield from pieces
        finally:
            self._listings -= 1


def _body(command: Command, members: Iterator[str]) -> Iterator[str]:
    yield "{\n"
    yield from members
    yield f'  "command" : {json.dumps(command.names[0])},\n  "error" : null\n}}'


def _error(status: int, name: str, fault: str, headers: tuple[tuple[str, str], ...] = ()) -> Response:
    body = f'{{\n  "command" : {json.dumps(name)},\n  "error" : {json.dumps(fault)}\n}}'
    return Response(status, http.JSON, body, headers)


def _not_allowed(methods: str) -> Response:
    return http.text(405, "method not allowed", (("Allow", methods),))


def _index(request: Request) -> Response:
    if request.method == "POST":
        return _not_allowed("GET, HEAD")
    links = "".join(
        f'<a href="{_COMMANDS}/{command.names[0]}">{command.names[0]}</a>\n<br/>\n' for command in commands.COMMANDS
    )
    return Response(200, http.HTML, links)
