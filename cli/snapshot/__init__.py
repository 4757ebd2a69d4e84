"""What `coord snapshot` and `coord check` do. The commands themselves are in cli.commands."""
