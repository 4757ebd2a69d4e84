"""druidroles.timeline: see docs/code-map.md."""
