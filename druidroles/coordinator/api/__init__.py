"""The Coordinator's HTTP resources, `/druid/coordinator/v1`."""
