"""Hyperbolic geometry as pure functions on arrays."""

from hyperclip_jax.geometry import lorentz, poincare

__all__ = ["lorentz", "poincare"]
