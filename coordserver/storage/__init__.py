"""coordserver.storage: see docs/code-map.md."""
