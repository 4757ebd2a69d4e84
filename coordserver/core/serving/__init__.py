"""The part of one member that is its own: connections, requests in flight, watches, session time. Not replicated."""
