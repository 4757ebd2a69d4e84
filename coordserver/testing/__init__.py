"""Shipped test tools: an embedded server and a disk in memory that fails on demand."""
