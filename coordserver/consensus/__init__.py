"""Reserved for the replicated log's algorithm."""
