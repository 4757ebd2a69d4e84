"""The measurements of `coord bench`. The command itself is in cli.commands."""
