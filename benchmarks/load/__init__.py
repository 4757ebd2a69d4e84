"""A load generator that is not the bottleneck: requests encoded beforehand, replies counted and not decoded."""
