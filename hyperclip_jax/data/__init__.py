"""Data: shards of records, batches made from them, and tools to prepare them."""
