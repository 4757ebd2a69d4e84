"""coordserver: see docs/code-map.md."""
