"""Hyperbolic geometry as pure functions on arrays."""

from hyperclip_jax.geometry import (
  beta,
  boosts,
  hyperplanes,
  klein,
  lorentz,
  manifolds,
  means,
  poincare,
  wrapped_normal,
)

__all__ = [
  "beta",
  "boosts",
  "hyperplanes",
  "klein",
  "lorentz",
  "manifolds",
  "means",
  "poincare",
  "wrapped_normal",
]
