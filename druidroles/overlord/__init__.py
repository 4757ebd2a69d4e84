"""The Overlord: accepts tasks, assigns them to workers, and publishes their segments."""
