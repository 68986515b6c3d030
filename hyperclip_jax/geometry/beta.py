"""Beta-concatenation: joining points without stretching them.

A random vector at the root that is joined from parts is longer than each. Its
expected length stays the same if the parts are scaled by a quotient of beta
functions first.

References:
  Shimizu et al., Hyperbolic Neural Networks++, ICLR 2021.
"""

import math
from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.numerics import Array, Scalar


def ratio(total: int, own: int) -> float:
  """Computes B(total / 2, 1 / 2) / B(own / 2, 1 / 2).

  Args:
    total: dimension of the whole.
    own: dimension of a part.

  Returns:
    Factor of the part's tangent vector at the root.

  Examples:
    >>> ratio(4, 2)  # B(2, 1/2) / B(1, 1/2) = (4/3) / 2
    0.6666...
  """
  log_beta = [
    math.lgamma(n / 2) - math.lgamma((n + 1) / 2) for n in (total, own)
  ]
  return math.exp(log_beta[0] - log_beta[1])


def concatenate(
  points: Sequence[Float[Array, "*batch _"]], curv: Scalar
) -> Float[Array, "*batch total"]:
  """Joins points of any dimensions into one; one part alone stays itself.

  Args:
    points: parts of equal leading axes.
    curv: c, where the curvature is -c.

  Returns:
    Points whose dimension is the sum of those of the parts.

  Examples:
    >>> concatenate([jnp.ones(2), jnp.zeros(2)], 1.0).round(4)
    Array([0.5945, 0.5945, 0.    , 0.    ], dtype=float32)
  """
  total = sum(x.shape[-1] for x in points)
  parts = [ratio(total, x.shape[-1]) * lorentz.logmap0(x, curv) for x in points]
  return lorentz.expmap0(jnp.concatenate(parts, axis=-1), curv)


def flatten(
  x: Float[Array, "*batch"], curv: Scalar, axes: int
) -> Float[Array, "*rest"]:
  """Joins the points along the `axes` axes before the last into one each.

  Args:
    x: points; their components lie along the last axis.
    curv: c, where the curvature is -c.
    axes: number of axes that are joined with the last.

  Returns:
    Points, the components of each part side by side, in row-major order.

  Examples:
    >>> flatten(jnp.ones((5, 2, 3, 4)), 1.0, axes=2).shape
    (5, 24)
  """
  own = x.shape[-1]
  shape = x.shape[: x.ndim - 1 - axes]
  total = math.prod(x.shape[len(shape) :])
  tangent = ratio(total, own) * lorentz.logmap0(x, curv)
  return lorentz.expmap0(tangent.reshape(*shape, total), curv)
