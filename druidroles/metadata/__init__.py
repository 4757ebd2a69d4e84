"""druidroles.metadata: see docs/code-map.md."""
