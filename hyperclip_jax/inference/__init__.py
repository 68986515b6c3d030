"""Trained models in use: load, embed, compare, classify, search, traverse.

`hyperclip_jax.load`, `hyperclip_jax.HyperCLIP` and `hyperclip_jax.Index` are
`pretrained.load`, `model.HyperCLIP` and `search.Index` of this package.
"""
