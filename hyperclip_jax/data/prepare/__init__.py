"""From raw downloads to clean, indexed shards."""
