"""Hostile bytes for both codecs: targets that any fuzzer can call, and strategies for what is legal."""
