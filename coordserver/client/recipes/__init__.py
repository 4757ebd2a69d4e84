"""coordserver.client.recipes: see docs/code-map.md."""
