"""The quickstart: a whole cluster on loopback, one batch of real data, and some answers."""
