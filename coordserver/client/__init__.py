"""coordserver.client: see docs/code-map.md."""
