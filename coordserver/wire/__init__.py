"""coordserver.wire: see docs/code-map.md."""
