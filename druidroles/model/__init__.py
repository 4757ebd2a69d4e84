"""druidroles.model: see docs/code-map.md."""
