"""Embeddings of trees: points of hyperbolic space for the nodes of a graph."""
