"""A real server and sessions on it."""

from tree_sessions import eventually, expire, other, paths, scheme, server, zk

__all__ = ["eventually", "expire", "other", "paths", "scheme", "server", "zk"]
