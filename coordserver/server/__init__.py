"""The trio edge: sockets, the log's thread, time, shutdown. Everything that decides lies below, in core."""
