"""The Overlord's HTTP resources, `/druid/indexer/v1`."""
