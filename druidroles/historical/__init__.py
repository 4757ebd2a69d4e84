"""druidroles.historical: see docs/code-map.md."""
