"""coordserver.core: see docs/code-map.md."""
