"""druidroles.http: see docs/code-map.md."""
