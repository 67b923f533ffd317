"""Caption shards in bulk."""
