"""Differential testing: the same histories over jute to a real ZooKeeper and to ours, compared reply by reply."""
