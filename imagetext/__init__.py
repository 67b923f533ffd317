"""The common data layer: samples, shards, sidecars, caption mixing, conversations, streams, decoding, tokenizers."""
