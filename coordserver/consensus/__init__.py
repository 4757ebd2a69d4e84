"""coordserver.consensus: see docs/code-map.md."""
