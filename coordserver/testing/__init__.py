"""coordserver.testing: see docs/code-map.md."""
