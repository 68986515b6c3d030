"""Flax Linen layers: image and text towers, hyperbolic layers, heads."""

from hyperclip_jax.nn.separation import MaxSeparation

__all__ = ["MaxSeparation"]
