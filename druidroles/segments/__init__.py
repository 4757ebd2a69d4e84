"""druidroles.segments: see docs/code-map.md."""
