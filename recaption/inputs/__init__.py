"""What goes in: shards, folders, tables and data sets as units of rows."""
