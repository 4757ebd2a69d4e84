"""Druid's timeline: which segments are visible, and which ones newer versions overshadow."""
