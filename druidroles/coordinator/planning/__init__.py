"""What to load, move and drop, decided from the model of the cluster. Pure."""
