"""A query that a sick Historical is asked first, though a healthy replica stands beside it."""

from __future__ import annotations

import http.client
import json
import time

from neighbour.greed.attack import Figures, Target

QUERY_TIMEOUT_MS = 45_000
"""Druid's default is 300,000; a query that takes this long has waited for the sick server until its own end."""


class SickReplica:
    """The query, and whether its answer is right."""

    def __init__(self, target: Target, rows: int) -> None:
        self._target = target
        self._rows = rows

    def prepare(self) -> Figures:
        """Nothing: the servers stand."""
        return {"query timeout s": QUERY_TIMEOUT_MS // 1000}

    def strike(self) -> Figures:
        """Ask once."""
        query = {
            "queryType": "timeseries",
            "dataSource": "flights",
            "intervals": ["2013-01-01/2013-02-02"],
            "granularity": "all",
            "aggregations": [{"type": "count", "name": "n"}],
            "context": {"timeout": QUERY_TIMEOUT_MS},
        }
        began = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self._target.port, timeout=QUERY_TIMEOUT_MS / 1000 + 5)
        try:
            connection.request("POST", "/druid/v2", json.dumps(query), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        right = answer.status == 200 and json.loads(body)[0]["result"] == {"n": self._rows}
        taken = round(time.monotonic() - began, 2)
        if right:
            return {"right": 1, "query_s": taken}
        return {"wrong": 1, "query_s": taken, "answer": f"{answer.status} {body[:100].decode(errors='replace')}"}
