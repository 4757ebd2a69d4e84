"""What can be wrong with an ingestion spec or its input."""

from __future__ import annotations


class IngestionError(ValueError):
    """Segments cannot be built. The text is one line for the task's status and names the field or file at fault."""


class SpecError(IngestionError):
    """The ingestion spec is malformed, or asks for something that is not supported."""


class InputError(IngestionError):
    """The input cannot be found or read."""


class SegmentFileError(ValueError):
    """A segment file is missing, damaged, or of a format that is not known here."""
