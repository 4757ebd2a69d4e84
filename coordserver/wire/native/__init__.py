"""The native protocol: msgpack arrays in frames (docs/protocol.md), for the server and for the client."""
