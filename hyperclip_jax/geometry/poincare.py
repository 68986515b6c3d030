"""The Poincare ball of curvature -curv, radius 1/sqrt(curv).

For plots and for exchange with other libraries; train in `lorentz`. A float32
ball has no room beyond a radius of about 16/sqrt(curv): points p must satisfy
curv |p|^2 < 1.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry import lorentz, numerics
from hyperclip_jax.geometry.numerics import Scalar, dot


def from_lorentz(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Projects points of the hyperboloid stereographically, x / (1 + sqrt(c) t).

  Args:
    x: points of the Lorentz model, as space components.
    curv: c, where the curvature is -c.

  Returns:
    Points of the ball.

  Examples:
    >>> p = from_lorentz(lorentz.expmap0(jnp.array([2.0, 0.0]), 1.0), 1.0)
    >>> p  # tanh(1)
    Array([0.7615..., 0.       ], dtype=float32)
  """
  return x / (1 + jnp.sqrt(curv) * lorentz.time(x, curv))[..., None]


def to_lorentz(
  p: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps points of the ball to space components, 2 p / (1 - c |p|^2).

  The inverse of `from_lorentz`.

  Args:
    p: points of the ball.
    curv: c, where the curvature is -c.

  Returns:
    Points of the Lorentz model.

  Examples:
    >>> to_lorentz(jnp.array([0.5, 0.0]), 1.0).round(4)
    Array([1.3333, 0.    ], dtype=float32)
  """
  return 2 * p / (1 - curv * dot(p, p))[..., None]


def dist(
  p: Float[Array, "*#batch dim"], q: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes geodesic distances; the gradient is 0 at p = q.

  cosh(sqrt(c) d) - 1 = 2 c |p - q|^2 / ((1 - c |p|^2) (1 - c |q|^2)).

  Args:
    p: points of the ball.
    q: points of the ball.
    curv: c, where the curvature is -c.

  Returns:
    Distances.

  Examples:
    >>> float(dist(jnp.zeros(2), jnp.array([jnp.tanh(1.0), 0.0]), 1.0).round(4))
    2.0
  """
  room = (1 - curv * dot(p, p)) * (1 - curv * dot(q, q))
  excess = 2 * curv * dot(p - q, p - q) / room
  return numerics.acosh1p(excess) / jnp.sqrt(curv)
