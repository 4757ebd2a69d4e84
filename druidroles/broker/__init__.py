"""The Broker: follows who serves which segments, fans queries out and merges the answers."""
