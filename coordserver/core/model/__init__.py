"""Values that every part of the server and the client shares: paths, ACLs, errors, operations, records, limits."""
