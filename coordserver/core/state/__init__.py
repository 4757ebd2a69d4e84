"""The replicated state. The same records give the same state on every member: no clock, no set order, no float."""
