"""One client is greedy: how long does a polite client beside it wait? Run with `python benchmarks/neighbour`."""
