"""The Router between real servers: a tree, Brokers and leaders that echo, and clients that misbehave."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from http_servers import Served, dead_port, serve_http
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from coordserver.client import Client, connect
from coordserver.testing.embedded import embedded_server
from druidroles.coordination.discovery import announce_node
from druidroles.coordination.paths import DruidPaths
from druidroles.coordination.url import CoordUrl
from druidroles.http.client import make_client
from druidroles.http.errors import DruidHttpError
from druidroles.model.server import DiscoveryDruidNode, DruidNode, NodeRole
from druidroles.process import RoleContext, RoleSettings
from druidroles.router.broker_strategies import Tiers
from druidroles.router.paths import refuse_abnormal
from druidroles.router.role import RouterSettings, build

METHODS = ["GET", "POST", "DELETE"]


def echo(name: str) -> list[BaseRoute]:
    """A server that says its name and what it was sent."""

    async def answer(request: Request) -> Response:
        body = await request.body()
        return JSONResponse(
            {
                "name": name,
                "method": request.method,
                "target": request.scope["raw_path"].decode() + "?" + request.scope["query_string"].decode(),
                "headers": dict(request.headers),
                "size": len(body),
                "head": body[:100].decode(errors="replace"),
            },
            headers={"X-Druid-Query-Id": "q", "Keep-Alive": "timeout=9"},
        )

    return [Route("/{rest:path}", answer, methods=METHODS)]


async def hold(context: AbstractAsyncContextManager[Any], *, task_status: trio.TaskStatus[Any]) -> None:
    """Keep a context open in a task of its own."""
    async with context as value:
        task_status.started(value)
        await trio.sleep_forever()


class World:
    """A Router with a tree of its own."""

    def __init__(self, url: str, zk: Client, paths: DruidPaths, nursery: trio.Nursery, http: httpx2.AsyncClient):
        self.url = url
        self.zk = zk
        self.http = http
        self._paths = paths
        self._nursery = nursery

    async def serve(self, routes: list[BaseRoute]) -> Served:
        """One more server."""
        served: Served = await self._nursery.start(hold, serve_http(routes))
        return served

    async def announce_broker(self, host_port: str, service: str = "druid/broker") -> None:
        """A Broker at an address."""
        host, _, port = host_port.rpartition(":")
        node = DiscoveryDruidNode(DruidNode(service, host, int(port)), NodeRole.BROKER)
        await self._nursery.start(hold, announce_node(self.zk, self._paths, node))
        await self.until(lambda home: f"http://{host_port}" in home["brokers"])

    async def contend(self, latch: str, role: str, url: str) -> str:
        """A contender for a latch; it leads if it is the first. Its path."""
        path = (await self.zk.create(f"{latch}/_c_x-latch-", url.encode(), ephemeral=True, sequence=True)).path
        if min(await self.zk.children(latch)) == path.rpartition("/")[2]:
            await self.until(lambda home: home[role] is not None and home[role]["url"] == url)
        return path

    async def coordinator(self, url: str) -> str:
        """A contending Coordinator."""
        return await self.contend(self._paths.coordinator_latch, "coordinator", url)

    async def until(self, condition: Callable[[Any], bool]) -> Any:
        """Wait until the Router's home page says so."""
        while True:
            home = (await self.http.get(self.url + "/")).json()
            if condition(home):
                return home
            await trio.sleep(0.01)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A running Router."""
    async with open_world(tmp_path) as world:
        yield world


@asynccontextmanager
async def open_world(tmp_path: Path, own: RouterSettings | None = None) -> AsyncIterator[World]:
    """A tree, a Router, and what the test adds."""
    (tmp_path / "server").mkdir()
    async with (
        embedded_server(tmp_path / "server") as server,
        connect(str(server.address), session_timeout=4) as zk,
        make_client() as http,
        httpx2.AsyncClient(timeout=20, trust_env=False) as client,
        trio.open_nursery() as nursery,
    ):
        url = CoordUrl.parse(f"coord://{server.address}/druid")
        settings = RoleSettings(role=NodeRole.ROUTER, coord=url, host="127.0.0.1", port=0, data_dir=tmp_path / "router")
        context = RoleContext(settings, zk, DruidPaths("/druid"), http, "127.0.0.1:8888")
        for path in context.paths.layout():
            await zk.ensure_path(path)
        router = build(context, own or RouterSettings())
        await nursery.start(router.run)
        async with serve_http(router.routes()) as served:
            yield World(served.url, zk, context.paths, nursery, client)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_queries_go_to_the_brokers_in_turn(world: World) -> None:
    """With path, query string, body and the client's own headers; without those of the connection."""
    for name in ("a", "b"):
        await world.announce_broker((await world.serve(echo(name))).host_port)
    answers = [
        await world.http.post(
            world.url + "/druid/v2/?pretty",
            json={"n": n},
            headers={"X-Mine": "1", "Connection": "keep-alive, X-Hop", "X-Hop": "1"},
        )
        for n in range(4)
    ]
    said = [answer.json() for answer in answers]
    assert sorted(one["name"] for one in said) == ["a", "a", "b", "b"]
    assert said[0]["name"] != said[1]["name"]
    assert said[3]["target"] == "/druid/v2/?pretty"
    assert json.loads(said[3]["head"]) == {"n": 3}
    assert said[3]["headers"]["x-mine"] == "1"
    assert "x-hop" not in said[3]["headers"]
    assert said[3]["headers"]["host"] != world.url.removeprefix("http://")
    assert answers[0].headers["x-druid-query-id"] == "q"
    assert "keep-alive" not in answers[0].headers
    assert answers[0].headers.get_list("date") == [answers[0].headers["date"]]


async def test_a_broker_that_is_dead_is_passed_over(world: World) -> None:
    """Its announcement outlives it for a session timeout; queries do not fail meanwhile."""
    await world.announce_broker(await dead_port())
    await world.announce_broker((await world.serve(echo("alive"))).host_port)
    for _ in range(4):
        answer = await world.http.post(world.url + "/druid/v2", json={"a": 1})
        assert answer.json()["name"] == "alive"
        assert answer.json()["head"].replace(" ", "") == '{"a":1}'


async def test_a_broker_that_dies_while_it_is_asked_is_replaced(world: World) -> None:
    """The body is sent again: queries only read."""
    asked = trio.Event()

    async def hang(request: Request) -> Response:
        await request.body()
        asked.set()
        await trio.sleep_forever()
        raise AssertionError

    dying = await world.serve([Route("/{rest:path}", hang, methods=METHODS)])
    await world.announce_broker(dying.host_port)
    answers: list[httpx2.Response] = []

    async def ask() -> None:
        answers.append(await world.http.post(world.url + "/druid/v2", json={"q": 1}))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await asked.wait()
        dying.kill()
    assert answers[0].status_code == 503
    assert answers[0].json()["error"] == "Service unavailable"
    await world.announce_broker((await world.serve(echo("other"))).host_port)
    for _ in range(2):
        assert (await world.http.post(world.url + "/druid/v2", json={"q": 1})).json()["name"] == "other"


async def test_without_brokers_and_leaders_there_are_errors_of_druids_form(world: World) -> None:
    """503, and what is missing."""
    cases = {
        "/druid/v2": "no Broker of the service druid/broker is announced",
        "/druid/coordinator/v1/loadstatus": "no Coordinator leads",
        "/proxy/overlord/status": "no Overlord leads",
    }
    for path, message in cases.items():
        answer = await world.http.post(world.url + path, json={})
        assert answer.status_code == 503
        assert answer.json()["errorMessage"] == message
        assert set(answer.json()) == {"error", "errorMessage", "errorClass", "host"}
    assert (await world.http.get(world.url + "/")).json()["brokers"] == []


async def test_management_follows_the_leader(world: World) -> None:
    """From one to the next, with the epoch shown."""
    first, second = await world.serve(echo("first")), await world.serve(echo("second"))
    path = await world.coordinator(first.url)
    await world.coordinator(second.url)
    answer = (await world.http.get(world.url + "/druid/coordinator/v1/loadstatus?simple")).json()
    assert (answer["name"], answer["target"]) == ("first", "/druid/coordinator/v1/loadstatus?simple")
    answer = (await world.http.post(world.url + "/proxy/coordinator/status/a%2Fb", json={})).json()
    assert (answer["name"], answer["target"], answer["method"]) == ("first", "/status/a%2Fb?", "POST")
    epoch = (await world.http.get(world.url + "/")).json()["coordinator"]["epoch"]
    await world.zk.delete(path)
    home = await world.until(lambda home: home["coordinator"]["url"] == second.url)
    assert home["coordinator"]["epoch"] > epoch
    assert (await world.http.get(world.url + "/druid/coordinator/v1/x")).json()["name"] == "second"


async def test_a_leader_that_leads_no_more_is_followed_once(world: World) -> None:
    """Its 307 names the successor; the body goes along. A second 307 is the client's."""
    new = await world.serve(echo("new"))

    async def redirect(request: Request) -> Response:
        await request.body()
        return RedirectResponse(f"{new.url}{request.url.path}", status_code=307)

    stale = await world.serve([Route("/{rest:path}", redirect, methods=METHODS)])
    await world.coordinator(stale.url)
    answer = (await world.http.post(world.url + "/druid/coordinator/v1/rules/a?x=1", json=[1])).json()
    assert (answer["name"], answer["target"], answer["head"]) == ("new", "/druid/coordinator/v1/rules/a?x=1", "[1]")

    async def further(request: Request) -> Response:
        return RedirectResponse(f"{stale.url}/", status_code=307)

    other = await world.serve([Route("/{rest:path}", further, methods=METHODS)])
    await world.contend("/druid/overlord/_OVERLORD", "overlord", other.url)
    assert (await world.http.get(world.url + "/druid/indexer/v1/tasks")).status_code == 307


async def test_a_dead_leader_is_an_error_that_says_so(world: World) -> None:
    """Not a hang, not a retry of what may not be repeated."""
    await world.coordinator(f"http://{await dead_port()}")
    answer = await world.http.post(world.url + "/druid/coordinator/v1/config", json={})
    assert answer.status_code == 503
    assert "the leading Coordinator does not answer" in answer.json()["errorMessage"]


class Zeros:
    """A body of many pieces whose length is not told."""

    def __init__(self, pieces: int) -> None:
        self._left = pieces

    def __aiter__(self) -> Zeros:
        return self

    async def __anext__(self) -> bytes:
        if not self._left:
            raise StopAsyncIteration
        self._left -= 1
        await trio.lowlevel.checkpoint()
        return b"0" * 65536


async def test_bodies_stream_up_to_the_limit(world: World) -> None:
    """15 MiB pass, told or not; 17 MiB are refused, told or not."""
    await world.announce_broker((await world.serve(echo("a"))).host_port)
    url = world.url + "/druid/v2"
    assert (await world.http.post(url, content=b"0" * (15 << 20))).json()["size"] == 15 << 20
    assert (await world.http.post(url, content=Zeros(15 * 16))).json()["size"] == 15 << 20
    for body in (b"0" * (17 << 20), Zeros(17 * 16)):
        try:
            answer = await world.http.post(url, content=body)
        except (httpx2.WriteError, httpx2.ReadError):
            continue  # the connection was closed while we were still sending
        assert answer.status_code == 413
        assert "16777216" in answer.json()["errorMessage"]


async def test_big_answers_stream_and_a_client_that_goes_ends_them(world: World) -> None:
    """The server behind is not read to its end for nobody."""
    ended = trio.Event()

    class Watched(StreamingResponse):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await super().__call__(scope, receive, send)
            finally:
                ended.set()

    async def answer(request: Request) -> Response:
        await request.body()
        size = int(request.query_params["pieces"])
        return (Watched if size > 1000 else StreamingResponse)(Zeros(size))

    await world.announce_broker((await world.serve([Route("/{rest:path}", answer, methods=METHODS)])).host_port)
    whole = await world.http.post(world.url + "/druid/v2?pieces=300", content=b"{}")
    assert len(whole.content) == 300 * 65536
    with trio.CancelScope() as scope:
        async with world.http.stream("POST", world.url + "/druid/v2?pieces=1000000", content=b"{}") as response:
            assert response.status_code == 200
            scope.cancel()
            await trio.lowlevel.checkpoint()
    await ended.wait()


async def test_an_answer_that_breaks_off_breaks_off(world: World) -> None:
    """It is not passed on as if it were whole."""

    class Broken(Zeros):
        async def __anext__(self) -> bytes:
            if self._left < 3:
                raise RuntimeError("the disk is gone")
            return await super().__anext__()

    async def answer(request: Request) -> Response:
        return StreamingResponse(Broken(5))

    await world.announce_broker((await world.serve([Route("/{rest:path}", answer, methods=METHODS)])).host_port)
    with pytest.raises(httpx2.HTTPError):
        await world.http.get(world.url + "/druid/v2/datasources")


async def test_cancelling_a_query_tells_every_broker(world: World) -> None:
    """Nobody knows which one runs it."""
    told: list[str] = []

    def deaf(name: str) -> list[BaseRoute]:
        async def cancel(request: Request) -> Response:
            told.append(f"{name} {request.url.path}")
            return Response(status_code=202)

        return [Route("/druid/v2/{id}", cancel, methods=["DELETE"])]

    for name in ("a", "b"):
        await world.announce_broker((await world.serve(deaf(name))).host_port)
    await world.announce_broker(await dead_port())
    assert (await world.http.delete(world.url + "/druid/v2/my-query")).status_code == 202
    assert sorted(told) == ["a /druid/v2/my-query", "b /druid/v2/my-query"]


RULES = {
    "_default": [{"type": "loadForever", "tieredReplicants": {"cold": 1}}],
    "d": [{"type": "loadByInterval", "interval": "2020/2021", "tieredReplicants": {"hot": 1, "cold": 1}}],
}


async def test_the_tier_of_the_data_decides_which_brokers_are_asked(tmp_path: Path) -> None:
    """By the rules of the leading Coordinator; a big query is not looked into, a service without Brokers not asked."""
    tiers = Tiers({"hot": "druid/broker-hot", "cold": "druid/broker-cold"}, default="druid/broker-cold")

    async def rules(request: Request) -> Response:
        return JSONResponse(RULES)

    def query(interval: str, **more: Any) -> dict[str, Any]:
        return {"queryType": "scan", "dataSource": "d", "intervals": [interval], **more}

    async with open_world(tmp_path, RouterSettings(tiers=tiers)) as world:

        async def asked(body: dict[str, Any]) -> str:
            response = await world.http.post(world.url + "/druid/v2", json=body)
            assert response.status_code == 200, response.text
            answer = response.json()
            assert answer["size"] == len(json.dumps(body, separators=(",", ":"), ensure_ascii=False))
            return str(answer["name"])

        await world.announce_broker((await world.serve(echo("cold"))).host_port, "druid/broker-cold")
        coordinator = await world.serve([Route("/druid/coordinator/v1/rules", rules)])
        await world.coordinator(coordinator.url)
        assert await asked(query("2020-02/2020-03")) == "cold"  # nobody is there for the other service
        await world.announce_broker((await world.serve(echo("hot"))).host_port, "druid/broker-hot")
        with trio.fail_after(20):
            while await asked(query("2020-02/2020-03")) != "hot":  # noqa: ASYNC110 - the Router tells nobody
                await trio.sleep(0.01)
        assert await asked(query("2021-02/2021-03")) == "cold"
        assert await asked(query("2020-02/2020-03", note="x" * (1 << 21))) == "cold"
        assert await asked({"queryType": "timeBoundary", "dataSource": "d"}) == "hot"
        for body, name in ((json.dumps(query("2020-02/2020-03")).encode(), "hot"), (b"{", "cold")):
            assert await passed_packed(world, gzip.compress(body)) == name
        assert await passed_packed(world, b"not packed") == "cold"
        brokers = (await world.http.get(world.url + "/druid/router/v1/brokers")).json()
        assert {service: len(hosts) for service, hosts in brokers.items()} == {
            "druid/broker-hot": 1,
            "druid/broker-cold": 1,
        }


async def passed_packed(world: World, body: bytes) -> str:
    """Which Broker gets a packed query; it gets it as it was sent."""
    headers = {"Content-Encoding": "gzip", "Content-Length": str(len(body))}
    answer = await world.http.post(world.url + "/druid/v2", content=body, headers=headers)
    assert answer.json()["size"] == len(body)
    assert answer.json()["headers"]["content-encoding"] == "gzip"
    return str(answer.json()["name"])


async def test_the_brokers_by_service(world: World) -> None:
    """Druid's shape: hosts with their port, an empty list where nobody offers the service."""
    url = world.url + "/druid/router/v1/brokers"
    assert (await world.http.get(url)).json() == {"druid/broker": []}
    await world.announce_broker("127.0.0.1:18082")
    await world.announce_broker("127.0.0.1:18083", "druid/other")
    assert (await world.http.get(url)).json() == {
        "druid/broker": ["127.0.0.1:18082"],
        "druid/other": ["127.0.0.1:18083"],
    }


PREFIXES = ("/druid/v2", "/druid/coordinator/v1", "/druid/indexer/v1", "/proxy/coordinator", "/proxy/overlord")
ABNORMAL = (
    "/../../../status",
    "/..",
    "/.",
    "/./x",
    "/%2e%2e/status",
    "/%2E./status",
    "/.%2e/status",
    "/x%2f..%2fstatus",
    "/..;a=b/status",
    "//status",
    "/x//y",
    "/..\\status",
    "/x%5c..%5cstatus",
)
NORMAL = ("/", "/x", "/x/", "/a.b/..c/...", "/a%2Fb", "/%c3%a4", "/a;b=c/d", "/x%20y")


async def status_of(url: str, method: str, path: str) -> int:
    """What a request with exactly this target is answered; HTTP clients would make it normal."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        await stream.send_all(f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join([chunk async for chunk in stream])
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize("prefix", PREFIXES)
async def test_what_is_not_normal_is_refused_wherever_it_goes(world: World, prefix: str) -> None:
    served = await world.serve(echo("behind"))
    await world.announce_broker(served.host_port)
    await world.coordinator(served.url)
    answers = {path: await status_of(world.url, "GET", prefix + path) for path in ABNORMAL}
    assert answers == dict.fromkeys(ABNORMAL, 400)


@pytest.mark.parametrize("prefix", ["/druid/v2", "/druid/coordinator/v1", "/proxy/coordinator"])
async def test_what_is_normal_is_passed_on(world: World, prefix: str) -> None:
    served = await world.serve(echo("behind"))
    await world.announce_broker(served.host_port)
    await world.coordinator(served.url)
    answers = {path: await status_of(world.url, "GET", prefix + path) for path in NORMAL}
    assert answers == dict.fromkeys(NORMAL, 200)


async def test_a_cancellation_of_a_query_is_judged_too(world: World) -> None:
    assert await status_of(world.url, "DELETE", "/druid/v2/..") == 400
    assert await status_of(world.url, "DELETE", "/druid/v2/some-id") == 202


@pytest.mark.parametrize("path", ABNORMAL)
def test_the_rule_alone(path: str) -> None:
    with pytest.raises(DruidHttpError) as caught:
        refuse_abnormal(path.encode())
    assert caught.value.status == 400
