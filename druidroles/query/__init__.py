"""Native queries: parsing, execution over segment files, merging of partial results."""
