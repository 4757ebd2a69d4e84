"""The MiddleManager and the processes of its tasks."""
