"""From decisions to orders in memory and requests in the load queues."""
