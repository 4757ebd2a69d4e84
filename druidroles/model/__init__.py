"""Druid's values and their JSON. Pure."""
