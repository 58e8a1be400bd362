"""Images in memory: reading them, pairs and patches, data sets and their layouts."""
