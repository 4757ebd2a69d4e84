"""The Router: one address for the cluster; it proxies to Brokers and leaders."""
