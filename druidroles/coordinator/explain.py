"""Why is this segment not loaded? What decides about one segment, and what stands in its way, server by server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from druidroles.coordinator.cluster.copies import Server
from druidroles.coordinator.loading.orders import Order, Orders
from druidroles.coordinator.planning.planner import broadcast_replicas
from druidroles.coordinator.planning.replicas import refusal
from druidroles.coordinator.planning.state import PlanningState
from druidroles.model.iso import format_iso
from druidroles.model.segment import DataSegment
from druidroles.rules.rules import Rules


@attrs.frozen(kw_only=True)
class Explainer:
    """What it takes: the picture, the rules and the orders, at one instant of both clocks."""

    view: PlanningState
    rules: Rules
    orders: Orders
    now_ms: int
    wall_ms: int

    def explain(self, segment: DataSegment) -> dict[str, Any]:
        """Everything about one segment, `why` in a sentence."""
        required = self._required(segment)
        tiers = {tier: self._tier(segment, tier, count) for tier, count in required.items()}
        want = self.view.wanting.of(segment.id)
        return {
            "segment": segment.id,
            "dataSource": segment.data_source,
            "size": segment.size,
            "why": self._why(segment, required, tiers),
            "used": segment.id in self.view.used,
            "overshadowed": self.view.used.is_overshadowed(segment),
            "rule": self._rule(segment),
            "servedBy": sorted(s.name for s in self.view.cluster.servers.values() if segment.id in s.served),
            "waitingSince": None if want is None else self._iso(want.since_ms),
            "tiers": tiers,
        }

    def _required(self, segment: DataSegment) -> Mapping[str, int]:
        verdict = self.view.rules.verdict(segment, self.wall_ms)
        if verdict is None or verdict.drop:
            return {}
        return broadcast_replicas(self.view) if verdict.broadcast else verdict.replicas

    def _rule(self, segment: DataSegment) -> dict[str, Any] | None:
        deciding = self.rules.deciding(segment, self.wall_ms)
        if deciding is None:
            return None
        of, index = deciding
        return {"of": of, "number": index, "rule": self.rules.stored[of][index]}

    def _why(self, segment: DataSegment, required: Mapping[str, int], tiers: Mapping[str, Any]) -> str:
        if segment.id not in self.view.used:
            return "it is not used: it was marked unused, and its copies are dropped"
        if self.view.used.is_overshadowed(segment):
            return "newer segments overshadow it, so it is not loaded any further"
        verdict = self.view.rules.verdict(segment, self.wall_ms)
        if verdict is None:
            fault = self.rules.faults.get(segment.data_source) or self.rules.faults.get("_default")
            return "no rule applies to it" if fault is None else f"its rules cannot be read: {fault}"
        if verdict.drop:
            return "its rule drops it"
        if not any(required.values()):
            return "its rule keeps it in deep storage only"
        reasons = [f"{tier}: {told['why']}" for tier, told in tiers.items() if told["missing"]]
        return "; ".join(reasons) if reasons else "it is loaded as its rule says"

    def _tier(self, segment: DataSegment, tier: str, count: int) -> dict[str, Any]:
        members = list(self.view.cluster.tier(tier))
        servers = [self._server(server, segment) for server in members]
        serving = sum(1 for told in servers if told["state"] == "serving")
        return {
            "required": count,
            "serving": serving,
            "loading": sum(1 for told in servers if told["state"] == "loading"),
            "missing": max(count - serving, 0),
            "why": self._why_in(segment, tier, servers),
            "servers": servers,
        }

    def _why_in(self, segment: DataSegment, tier: str, servers: list[dict[str, Any]]) -> str:
        if not servers:
            return "the tier has no server"
        loading = [told["server"] for told in servers if told["state"] == "loading"]
        if loading:
            return f"being loaded by {', '.join(loading)}"
        until_ms = self.view.damping.held_until(segment.id, self.now_ms)
        if until_ms:
            return f"a server that had it has left; it is waited for until {self._iso(until_ms)}"
        if segment.id in self.view.throttled.get(tier, {}):
            in_flight = self.view.cluster.replicas_in_flight.get(tier, 0)
            return (
                f"throttled: {in_flight} replicas are being loaded, the limit is {self.view.limits.replicas_in_flight}"
            )
        if all(told["state"] != "free" for told in servers):
            return "no server may load it"
        return "it is about to be ordered"

    def _server(self, server: Server, segment: DataSegment) -> dict[str, Any]:
        refused = refusal(self.view, server, segment, self.now_ms)
        told: dict[str, Any] = {"server": server.name, "state": "free" if refused is None else "refused"}
        order = self.orders.of(server.name, segment.id)
        if segment.id in server.dropping:
            told["state"] = "dropping"
        elif segment.id in server.served:
            told["state"] = "serving"
        elif segment.id in server.loading:
            told["state"] = "loading"
        elif refused is not None:
            told["refusal"] = refused
        if order is not None:
            told["request"] = self.request(order)
        failure = self.view.failures.of_segment(segment.id).get(server.name)
        if failure is not None:
            told["failure"] = {
                "cause": failure.cause,
                "count": failure.count,
                "at": self._iso(failure.at_ms),
                "askedAgainFrom": self._iso(failure.until_ms),
            }
        return told

    def request(self, order: Order) -> dict[str, Any]:
        """What there is to say of one order."""
        told: dict[str, Any] = {
            "segment": order.segment.id,
            "action": order.action.value,
            "attempt": order.attempt,
            "orderedAt": self._iso(order.ordered_ms),
            "inTheTreeSince": None if order.written_ms is None else self._iso(order.written_ms),
            "started": order.started,
            "late": order.late,
        }
        return told if order.source is None else {**told, "movedFrom": order.source}

    def _iso(self, at_ms: int) -> str:
        return format_iso(self.wall_ms + at_ms - self.now_ms)
