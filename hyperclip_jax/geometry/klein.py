"""The Klein, or Beltrami, model: geodesics are straight lines.

A ball of radius 1/sqrt(curv), like that of `geometry.poincare`. For exchange
and plots; the Einstein midpoint of its papers is `lorentz.centroid`.
"""

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Array, Scalar, dot
from hyperclip_jax.geometry.stable import time


def from_lorentz(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Projects points of the hyperboloid from the centre, x / (sqrt(c) t).

  Args:
    x: points of the Lorentz model, as space components.
    curv: c, where the curvature is -c.

  Returns:
    Points of the Klein model.

  Examples:
    >>> from_lorentz(jnp.array([jnp.sinh(1.0), 0.0]), 1.0)  # tanh(1)
    Array([0.7615..., 0.       ], dtype=float32)
  """
  return x / (jnp.sqrt(curv) * time(x, curv))[..., None]


def to_lorentz(
  k: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps points of the Klein model to space components.

  The inverse of `from_lorentz`, k / sqrt(1 - c |k|^2). A float32 point has
  room up to a radius of about 8/sqrt(c).

  Args:
    k: points of the Klein model, c |k|^2 < 1.
    curv: c, where the curvature is -c.

  Returns:
    Points of the Lorentz model.

  Examples:
    >>> to_lorentz(jnp.array([0.6, 0.0]), 1.0)
    Array([0.75, 0.  ], dtype=float32)
  """
  return k / numerics.sqrt(1 - curv * dot(k, k))[..., None]
