"""The model of the cluster: copies, used segments, departures, failures. Pure."""
