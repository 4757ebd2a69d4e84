"""cli.commands: see docs/code-map.md."""
