"""The servers that are compared, each a process of its own on a free port of loopback with fsync on."""
