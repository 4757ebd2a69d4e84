"""coordserver.server: see docs/code-map.md."""
