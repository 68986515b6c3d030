"""The view of hyperboloids as Poincare balls, and back.

`geometry.poincare` has these functions, too.
"""

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz
from hyperclip_jax.geometry.numerics import Array, Scalar, dot


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
