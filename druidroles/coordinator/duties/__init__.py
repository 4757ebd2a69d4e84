"""What a leading Coordinator does beside planning: poll the metadata store, delete unused segments."""
