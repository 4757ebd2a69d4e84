"""druidroles.rules: see docs/code-map.md."""
