"""Which task runs where, and which task holds which lock, decided from what was observed. Pure."""
