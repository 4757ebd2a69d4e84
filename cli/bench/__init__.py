"""cli.bench: see docs/code-map.md."""
