"""cli.shell: see docs/code-map.md."""
