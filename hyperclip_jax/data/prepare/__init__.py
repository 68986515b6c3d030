"""Converts downloaded data to clean, indexed shards."""
