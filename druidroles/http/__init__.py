"""HTTP for all roles: serving, asking, errors, access rules, compression and metrics."""
