"""Data: shards of records, batches made from them, and their preparation."""
