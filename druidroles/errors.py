"""Naming one cause where several errors may have come together: nurseries put even a single one into a group."""

from __future__ import annotations


def first_leaf(error: BaseException) -> BaseException:
    """The first error in a group that is no group itself, or the error."""
    return first_leaf(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error
