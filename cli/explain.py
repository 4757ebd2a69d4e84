"""`coord druid explain`: why a segment is not loaded, as the leading Coordinator tells it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from cli.render import print_json, print_table
from cli.running import CommandFailedError

TIMEOUT_S = 30.0
_PATH = "/druid/coordinator/v1/explain/segments/"


def explain(segment_id: str, coordinator: str, output: str | None) -> None:
    """Ask and print."""
    told = _ask(coordinator.rstrip("/") + _PATH + quote(segment_id, safe=""))
    if output == "json":
        print_json(told)
    else:
        _print(told)


def _ask(url: str) -> dict[str, Any]:
    import httpx2

    try:
        answer = httpx2.get(url, timeout=TIMEOUT_S, follow_redirects=True, trust_env=False)
    except (httpx2.HTTPError, httpx2.InvalidURL) as fault:
        raise CommandFailedError(f"{url} does not answer: {fault}") from None
    try:
        told = answer.json()
    except ValueError:
        told = None
    if answer.status_code != 200 or not isinstance(told, dict):
        cause = told.get("errorMessage") if isinstance(told, dict) else None
        raise CommandFailedError(cause or f"{url} answered with status {answer.status_code}")
    return told


def _print(told: dict[str, Any]) -> None:
    click.echo(f"{told['segment']} ({told['size']} bytes)")
    click.echo(f"  why      {told['why']}")
    if told["waitingSince"] is not None:
        click.echo(f"  waiting  since {told['waitingSince']}")
    rule = told["rule"]
    if rule is not None:
        click.echo(f"  rule     number {rule['number']} of {rule['of']}: {json.dumps(rule['rule'])}")
    click.echo(f"  served   {', '.join(told['servedBy']) or 'by nobody'}")
    for tier, of_tier in told["tiers"].items():
        title = f"{tier}: {of_tier['serving']} of {of_tier['required']} served"
        rows = [
            {"server": one["server"], "state": one["state"], "because": _because(one)} for one in of_tier["servers"]
        ]
        if rows:
            print_table(title, rows)
        else:
            click.echo(f"{title}; the tier has no server")


def _because(one: dict[str, Any]) -> str:
    parts = [one["refusal"]] if "refusal" in one else []
    request = one.get("request")
    if request is not None:
        state = "started" if request["started"] else "in the tree" if request["inTheTreeSince"] else "queued"
        late = ", late" if request["late"] else ""
        parts.append(f"{request['action']} ordered {request['orderedAt']}, attempt {request['attempt']}, {state}{late}")
    failure = one.get("failure")
    if failure is not None:
        times = "once" if failure["count"] == 1 else f"{failure['count']} times"
        parts.append(f"failed {times}: {failure['cause']} (asked again from {failure['askedAgainFrom']})")
    return "; ".join(parts)
