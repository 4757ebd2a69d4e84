"""druidroles.coordination: see docs/code-map.md."""
