"""coordserver: a ZooKeeper-compatible coordination server. Where to begin reading: docs/code-map.md."""

VERSION = "0.1.0"
