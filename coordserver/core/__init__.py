"""The state machine and what serves it, pure: no I/O, no clock, no event loop. model <- state <- serving."""
