"""Bytes to core values and back, both directions, with no sockets: codecs and sans-IO connections."""
