"""The rules as the leading Coordinator tells them, read every minute (`druid.router.pollPeriod`).

What cannot be read leaves in place what is known; before the first reading the default rules hold.
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
    """`rules` are the newest that could be read."""

    def __init__(self, http: httpx2.AsyncClient, coordinators: LeaderView) -> None:
        self.rules = Rules({})
        self._http = http
        self._coordinators = coordinators

    async def run(self) -> None:
        """Read at once and then every minute, for ever; after a failure sooner, and when another Coordinator leads."""
        failing = False
        while True:
            seen = self._coordinators.revision.value
            fault = await self._read()
            if fault is not None and not failing:
                log.warning("the rules cannot be read: %s", fault)
            failing = fault is not None
            with trio.move_on_after(RETRY_S if failing else PERIOD_S):
                await self._coordinators.changed(seen)

    async def _read(self) -> str | None:
        """Read once; what went wrong, or None."""
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
            log.warning("the rules of %s make no sense: %s", name, fault_text)
        return None
