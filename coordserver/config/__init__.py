"""coordserver.config: see docs/code-map.md."""
