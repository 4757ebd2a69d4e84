"""The Coordinator: it keeps used segments loaded as the rules say. Data flows cluster -> planning -> loading."""
