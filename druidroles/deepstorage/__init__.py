"""druidroles.deepstorage: see docs/code-map.md."""
