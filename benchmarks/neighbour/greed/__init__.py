"""What greedy clients do: an attack each, over raw sockets."""
