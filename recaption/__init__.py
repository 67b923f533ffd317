"""Caption shards in bulk: shards or a folder of pictures in, one sidecar of captions per shard out."""
