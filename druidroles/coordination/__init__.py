"""Every znode path and payload of the cluster. Only this package knows the layout of the tree."""
