"""Losses: pure functions of rows of embeddings."""
