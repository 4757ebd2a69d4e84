"""What the server tells of itself, gathered from its parts when asked."""

from __future__ import annotations

from attrs import define, field

from coordserver import VERSION
from coordserver.core.engine import Engine
from coordserver.server.poller import Poller
from coordserver.server.ticker import Ticker
from coordserver.storage.txnlog import TxnLog
from coordserver.wire.facts import ServerFacts, Traffic


@define
class Status:
    """Gathers facts. `serving` is set once the port is open, and taken back when the stop begins."""

    engine: Engine
    log: TxnLog
    poller: Poller | None = None
    ticker: Ticker | None = None
    serving: bool = False
    traffic: Traffic = field(factory=Traffic)

    def facts(self) -> ServerFacts:
        """Counts at this moment; none of them walks the tree."""
        state = self.engine.machine.statistics()
        engine = self.engine.statistics()
        log = self.log.statistics()
        return ServerFacts(
            version=VERSION,
            serving=self.serving,
            zxid=state.zxid,
            znodes=state.znodes,
            watches=engine.watches,
            ephemerals=state.ephemerals,
            data_bytes=state.data_bytes,
            sessions=state.sessions,
            connections=len(self.poller) if self.poller is not None else 0,
            outstanding=engine.outstanding,
            received=self.traffic.received,
            sent=self.traffic.sent,
            fsync_last_us=int(log.sync_s_last * 1e6),
            fsync_max_us=int(log.sync_s_max * 1e6),
            fsyncs=log.batches,
            records_logged=log.records,
            loop_late_max_ms=self.ticker.late_ms_max if self.ticker is not None else 0,
            apply_faults=state.system_errors,
        )
