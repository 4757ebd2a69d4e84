"""druidroles.broker: see docs/code-map.md."""
