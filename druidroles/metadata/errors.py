"""What the metadata store may answer instead of a result.

MetadataError                  the store failed or cannot be used: nothing was changed
 ├─ StaleEpochError            the caller does not lead any more: it must stop leading
 ├─ StoreVanishedError         the store was removed or replaced under us: nothing written since is kept by anybody
 ├─ UnreadableRowError         one row that was asked for by its key cannot be read (unreadable.py)
 ├─ UnstorableValueError       a value cannot be stored (also a ModelError): whoever gave it is at fault
 └─ PublishRefusedError        the task may not publish (lock, attempt, or it has ended): the task must fail
"""

from __future__ import annotations

from druidroles.model.decode import ModelError


class MetadataError(Exception):
    """The store could not do it; nothing was changed. The text is one line, fit for an operator."""


class StaleEpochError(MetadataError):
    """A leader of a newer epoch has taken over the role.

    `held` is the highest epoch that the store knows, `epoch` the caller's.
    """

    def __init__(self, role: str, epoch: int, held: int | None) -> None:
        self.role = role
        self.epoch = epoch
        self.held = held
        super().__init__(
            f"{role} of epoch {epoch} does not lead: the metadata store holds epoch {'none' if held is None else held}"
        )


class StoreVanishedError(MetadataError):
    """The store that was opened is no longer the one at its path: it was removed, or another stands there."""


class UnstorableValueError(MetadataError, ModelError):
    """The database cannot hold a value that it was given, or look for it: a NUL, half of a surrogate pair, too long."""


class PublishRefusedError(MetadataError):
    """A task may not publish: it has ended, another attempt of it runs, or no lock of it covers a segment."""
