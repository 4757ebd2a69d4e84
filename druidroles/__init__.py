"""druidroles: see docs/code-map.md."""
