"""The metadata store: which segments exist, the rules, the configuration, the tasks and their locks.

Tables and columns are Druid's (SQLMetadataConnector, prefix `druid_`), so that an operator finds what he knows. What
Druid does not have lies in tables of our own, prefix `coord_`: the highest epoch of each leading role, and the attempts
of tasks.

Every write belongs to a leader and names its epoch; the transaction that writes checks it first. A leader that was
deposed while it was paused is thus refused by the store itself (`StaleEpochError`), however late it comes.
"""

from druidroles.metadata.errors import (
    MetadataError,
    PublishRefusedError,
    StaleEpochError,
    StoreVanishedError,
    UnstorableValueError,
)
from druidroles.metadata.location import MetadataLocation, open_store, parse_metadata_location
from druidroles.metadata.protocol import MetadataStore
from druidroles.metadata.records import Audit, AuditEntry, LeaderEpoch, Publication, StoredLock, StoredRules, TaskRow
from druidroles.metadata.sqlite import SqliteMetadataStore, open_sqlite_store
from druidroles.metadata.unreadable import UnreadableRowError, UnreadableRows

__all__ = [
    "Audit",
    "AuditEntry",
    "LeaderEpoch",
    "MetadataError",
    "MetadataLocation",
    "MetadataStore",
    "PublishRefusedError",
    "Publication",
    "SqliteMetadataStore",
    "StaleEpochError",
    "StoreVanishedError",
    "StoredLock",
    "StoredRules",
    "TaskRow",
    "UnreadableRowError",
    "UnreadableRows",
    "UnstorableValueError",
    "open_sqlite_store",
    "open_store",
    "parse_metadata_location",
]
