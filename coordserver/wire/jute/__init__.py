"""ZooKeeper's own protocol: jute records in length-prefixed frames (org.apache.jute, ZooKeeper.jute)."""
