"""The rules, polled every minute from the leading Coordinator (`druid.router.pollPeriod`).

When a poll fails, the rules of the last successful poll stay in force. Before the first one the default rules apply.
"""

from __future__ import annotations

import logging
from typing import Any

import httpx2
import trio

from druidroles.coordination.leaders import LeaderView
from druidroles.model.decode import as_object
from druidroles.rules.rules import Rules

log = logging.getLogger(__name__)

PERIOD_S = 60.0
RETRY_S = 2.0
READ_S = 10.0


class PolledRules:
    """Polls the rules. `rules` has the result of the last successful poll."""

    def __init__(self, http: httpx2.AsyncClient, coordinators: LeaderView) -> None:
        self.rules = Rules({})
        self._http = http
        self._coordinators = coordinators

    async def run(self) -> None:
        """Poll now, then after PERIOD_S seconds, after RETRY_S seconds if a poll failed, or when the leader changes.

        Runs until it is cancelled.
        """
        failing = False
        while True:
            seen = self._coordinators.revision.value
            fault = await self._poll()
            if fault is not None and not failing:
                log.warning("the rules cannot be read: %s", fault)
            failing = fault is not None
            with trio.move_on_after(RETRY_S if failing else PERIOD_S):
                await self._coordinators.changed(seen)

    async def _poll(self) -> str | None:
        """Read the rules once. Returns the error text of a failure, or None."""
        url = self._coordinators.url
        if url is None:
            return "no Coordinator leads"
        try:
            with trio.fail_after(READ_S):
                response = await self._http.get(url + "/druid/coordinator/v1/rules")
            response.raise_for_status()
            stored: Any = as_object(response.json(), "rules")
            self.rules = Rules({name: value for name, value in stored.items() if isinstance(value, list)})
        except (httpx2.HTTPError, ValueError, RecursionError, trio.TooSlowError) as fault:
            return f"{url}: {fault or type(fault).__name__}"
        for name, fault_text in self.rules.faults.items():
            log.warning("the rules of %s are invalid: %s", name, fault_text)
        return None
