"""Published test sets as they lie on disk: a registry as data, and a reader for each format."""
