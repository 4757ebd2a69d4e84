"""One module for each command of `coord`."""
