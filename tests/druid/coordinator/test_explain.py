"""Why is this segment not loaded? Each answer there is, and what an operator sees of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from click.testing import CliRunner
from fake_historicals import fake_historical

from cli.commands.druid import command
from cli.explain import _print
from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.explain import Explainer
from druidroles.coordinator.loading.orders import Order, Orders
from druidroles.coordinator.planning.planner import plan, take_snapshot
from druidroles.coordinator.planning.state import PlanningLimits
from druidroles.coordinator.settings import TermSettings, make_view
from druidroles.model.change_request import Action
from druidroles.model.interval import Interval
from druidroles.model.iso import MS_PER_DAY
from druidroles.model.segment import DataSegment
from druidroles.rules.rules import Rules

TIER = "_default_tier"
ROOT = "/druid/coordinator/v1"
Until = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def segment(day: int, version: str = "v1") -> DataSegment:
    return DataSegment("wiki", Interval(day * MS_PER_DAY, (day + 1) * MS_PER_DAY), version, size=10)


class World:
    """A view that is planned, and what explains it."""

    def __init__(self, *rules: dict[str, Any]) -> None:
        self.now_ms = 5_000
        self.orders = Orders()
        self.rules = Rules({"wiki": list(rules)} if rules else {})
        view = self.view = make_view(TermSettings(), 0)
        view.rules = self.rules

    def server(self, name: str, size: int = 1_000, **more: Any) -> Server:
        server = Server(name, TIER, max_size=size)
        for key, value in more.items():
            setattr(server, key, value)
        return self.view.cluster.add_server(server)

    def use(self, *segments: DataSegment) -> None:
        take_snapshot(self.view, segments, self.now_ms)
        self.plan()

    def plan(self) -> None:
        while self.view.cluster.has_dirt():
            for action in plan(self.view, self.now_ms, self.now_ms):
                if hasattr(action, "segment"):
                    self.orders.put(Order(action.server, action.segment, Action.LOAD, ordered_ms=self.now_ms))

    def explain(self, each: DataSegment) -> dict[str, Any]:
        explainer = Explainer(
            view=self.view, rules=self.rules, orders=self.orders, now_ms=self.now_ms, wall_ms=1_000_000
        )
        return explainer.explain(each)

    def refusals(self, each: DataSegment) -> dict[str, str]:
        servers = self.explain(each)["tiers"][TIER]["servers"]
        return {told["server"]: told["refusal"] for told in servers if "refusal" in told}


def test_each_server_tells_what_it_has_against_the_segment() -> None:
    world = World()
    world.server("full", size=9)
    world.server("leaving", decommissioning=True)
    world.server("going", stopping=True)
    failed = world.server("failed")
    queued = world.server("queued")
    world.view.limits = PlanningLimits(queue_length=1)
    world.view.cluster.begin_load(queued, segment(9), primary=True)
    world.view.failures.record(segment(1).id, failed.name, "no such file", world.now_ms)
    world.use(segment(1))
    told = world.explain(segment(1))
    assert world.refusals(segment(1)) == {
        "full": "it is full: 9 of 9 bytes are free, 10 are needed",
        "leaving": "it is decommissioning",
        "going": "it is stopping",
        "failed": "it failed to load the segment a short while ago",
        "queued": "its load queue is full: 1 segments, the limit is 1",
    }
    assert told["why"] == "_default_tier: no server may load it"
    assert told["waitingSince"] == "1970-01-01T00:16:40.000Z"
    failure = next(s["failure"] for s in told["tiers"][TIER]["servers"] if "failure" in s)
    assert failure["cause"] == "no such file"
    assert failure["askedAgainFrom"] == "1970-01-01T00:17:10.000Z"


def test_the_beginning_of_a_want_is_kept_and_ends_with_it() -> None:
    world = World({"type": "loadForever", "tieredReplicants": {TIER: 1}})
    world.use(segment(1))
    world.now_ms += 60_000
    server = world.server("a")
    world.view.cluster.mark(segment(1).id)
    world.plan()
    told = world.explain(segment(1))
    assert told["waitingSince"] == "1970-01-01T00:15:40.000Z"
    assert told["why"] == "_default_tier: being loaded by a"
    assert told["tiers"][TIER]["servers"][0]["request"]["started"] is False
    world.view.cluster.add_served(server, segment(1), world.now_ms)
    world.plan()
    told = world.explain(segment(1))
    assert told["waitingSince"] is None
    assert told["why"] == "it is loaded as its rule says"
    assert told["servedBy"] == ["a"]


def test_a_grace_and_a_throttle_are_told() -> None:
    world = World()
    a, b = world.server("a"), world.server("b")
    world.server("c")
    for server in (a, b):
        world.view.cluster.add_served(server, segment(1), world.now_ms)
    world.use(segment(1))
    served = world.view.cluster.remove_server("a")
    world.view.damping.left("a", TIER, served, world.now_ms, stopping=True, remaining=2)
    world.plan()
    assert "it is waited for until 1970-01-01T00:17:40.000Z" in world.explain(segment(1))["why"]
    world.view.limits = PlanningLimits(replicas_in_flight=0)
    world.view.cluster.add_served(b, segment(2), world.now_ms)
    world.use(segment(1), segment(2))
    assert "throttled: 0 replicas are being loaded, the limit is 0" in world.explain(segment(2))["why"]


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([{"type": "dropForever"}], "its rule drops it"),
        ([{"type": "loadForever", "tieredReplicants": {}}], "its rule keeps it in deep storage only"),
        ([{"type": "nonsense"}], "its rules cannot be read"),
        ([{"type": "loadForever", "tieredReplicants": {"hot": 1}}], "hot: the tier has no server"),
    ],
)
def test_what_the_rule_says_is_told(rules: list[dict[str, Any]], why: str) -> None:
    world = World(*rules)
    world.use(segment(1))
    told = world.explain(segment(1))
    assert why in told["why"]
    if "nonsense" not in str(rules):
        assert told["rule"] == {"of": "wiki", "number": 0, "rule": rules[0]}


def test_no_rule_no_use_and_newer_segments_are_told() -> None:
    world = World()
    world.view.rules = world.rules = Rules({"_default": []})
    world.use(segment(1))
    assert world.explain(segment(1))["why"] == "no rule applies to it"
    assert "not used" in world.explain(segment(7))["why"]
    world.use(segment(1), segment(1, "v2"))
    assert "newer segments overshadow it" in world.explain(segment(1))["why"]


def test_the_default_rule_is_told_by_its_place() -> None:
    world = World({"type": "loadByInterval", "interval": "2000/2001", "tieredReplicants": {TIER: 1}})
    world.use(segment(1))
    rule = world.explain(segment(1))["rule"]
    assert (rule["of"], rule["number"], rule["rule"]["type"]) == ("_default", 0, "loadForever")


async def test_over_http_and_on_the_screen(house: Any, days: Any, until: Until, capsys: Any) -> None:
    known, unused = days(range(2))
    await house.publish(known, unused)
    async with (
        fake_historical(house.address, "h1:8083") as one,
        fake_historical(house.address, "h2:8083", max_size=5),
        house.coordinator() as coordinator,
    ):

        async def served() -> bool:
            leading = coordinator.role.leading
            return leading is not None and leading.ready and known.id in one.served

        await until(served)
        await coordinator.http.delete(f"{ROOT}/datasources/wiki/segments/{unused.id}")

        async def told() -> Any:
            value = await coordinator.get(f"/explain/segments/{known.id}")
            return value if value["servedBy"] else None

        value = await until(told)
        assert value["tiers"][TIER]["missing"] == 1
        assert "it is full" in str(value["tiers"][TIER]["servers"])

        async def told_unused() -> bool:
            return "not used" in (await coordinator.get(f"/explain/segments/{unused.id}"))["why"]

        await until(told_unused)
        missing = await coordinator.http.get(f"{ROOT}/explain/segments/a%2Fb")
        assert missing.status_code == 404
        assert "a/b" in missing.json()["errorMessage"]
    _print(value)
    shown = capsys.readouterr().out
    assert "1 of 2 served" in shown
    assert "it is full: 5 of 5 bytes are free, 10 are needed" in shown


def test_a_coordinator_that_does_not_answer_is_one_line() -> None:
    result = CliRunner().invoke(command, ["explain", "x", "--coordinator", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "does not answer" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_a_late_request_is_told() -> None:
    world = World()
    order = attrs.evolve(Order("a", segment(1), Action.LOAD, source="b"), late=True, started=True, written_ms=0)
    world.orders.put(order)
    explainer = Explainer(view=world.view, rules=world.rules, orders=world.orders, now_ms=0, wall_ms=0)
    told = explainer.request(order)
    assert (told["late"], told["movedFrom"]) == (True, "b")
