"""Where a segment is best kept: Druid's cost of segments that lie near each other in time, and the strategies on it.

Pure: no clock, no random numbers of its own, no I/O. See cost.py for the theory.
"""
