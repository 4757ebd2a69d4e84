"""druidroles.overlord: see docs/code-map.md."""
