"""druidroles.balancer: see docs/code-map.md."""
