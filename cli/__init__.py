"""cli: see docs/code-map.md."""
