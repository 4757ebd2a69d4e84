"""The Historical role."""
