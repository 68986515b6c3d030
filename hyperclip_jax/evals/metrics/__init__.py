"""Metrics: pure functions of embeddings, labels and a model."""
