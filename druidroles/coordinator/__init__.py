"""druidroles.coordinator: see docs/code-map.md."""
