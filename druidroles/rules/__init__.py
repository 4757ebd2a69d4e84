"""Druid's load, drop and broadcast rules."""
