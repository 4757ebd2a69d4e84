"""What the leading roles share: how a term begins, epochs over HTTP, and resources that only the leader serves."""
