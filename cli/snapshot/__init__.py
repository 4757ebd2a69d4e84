"""The implementation of `coord snapshot` and `coord check`. The commands themselves are in cli.commands."""
