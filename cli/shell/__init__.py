"""The shell of `coord shell`. The command itself is in cli.commands."""
