"""druidroles.router: see docs/code-map.md."""
