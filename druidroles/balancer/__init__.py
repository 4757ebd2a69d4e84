"""Balancing: Druid's cost function for segments that are close in time, and the strategies that choose a server.

The package is pure: it does no I/O, reads no clock and makes no random numbers. cost.py explains the cost function.
"""
