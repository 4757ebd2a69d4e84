"""druidroles.query: see docs/code-map.md."""
