"""druidroles.middlemanager: see docs/code-map.md."""
