"""Functions in the tangent space at the root, and the way there and back.

Tangent vectors are those of the Poincare ball, as in HypLL and Poincare ResNet:
exp_0(u) lies at the distance 2 |u| from the root.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hyperclip_jax.geometry import boosts, elementary, hyperplanes, lorentz
from hyperclip_jax.geometry.numerics import Scalar, dot


def from_tangent(
  u: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps tangent vectors at the root to points.

  Vectors longer than sqrt(c) 2 |u| = 40 are shortened to that, since float32
  has no room for points beyond 44.

  Args:
    u: tangent vectors at the root; 2 |u| is the distance to go.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> from_tangent(jnp.array([0.5, 0.0]), 1.0)  # sinh(1)
    Array([1.1752..., 0.       ], dtype=float32)
  """
  return 2 * stretch(4 * curv * dot(u, u))[..., None] * u


def stretch(r2: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
  """Computes the factor sinh(r) / r of an exponential map at the root.

  Args:
    r2: squares of sqrt(c) times the distance to go.

  Returns:
    Factors; beyond r = 40 that of 40, times 40 / r.

  Examples:
    >>> stretch(jnp.array([0.0, 1.0]))  # 1 and sinh(1)
    Array([1.       , 1.1752...], dtype=float32)
  """
  near, size = within_reach(r2)
  return size * elementary.sinhc(near)


def within_reach(
  r2: Float[Array, "*batch"],
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
  """Shortens vectors that lead farther than r = 40.

  Args:
    r2: squares of sqrt(c) times the distance to go.

  Returns:
    Squares of at most 40^2, and the factors of the vectors, 40 / r or 1.

  Examples:
    >>> within_reach(jnp.array([9.0, 6400.0]))
    (Array([   9., 1600.], dtype=float32), Array([1. , 0.5], dtype=float32))
  """
  most = hyperplanes.REACH**2
  far = r2 > most
  size = hyperplanes.REACH / jnp.sqrt(jnp.where(far, r2, most))
  return jnp.where(far, most, r2), size


def to_tangent(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps points to tangent vectors at the root; inverse of `from_tangent`.

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors, half as long as the points are far from the root.

  Examples:
    >>> f"{to_tangent(jnp.array([jnp.sinh(1.0), 0.0]), 1.0)[0]:.4f}"
    '0.5000'
  """
  return lorentz.logmap0(x, curv) / 2


def in_tangent(
  function: Callable[[Array], Array],
  x: Float[Array, "*batch dim"],
  curv: Scalar,
) -> Float[Array, "*rest"]:
  """Applies a function of Euclidean vectors to points.

  Args:
    function: function of tangent vectors, such as a Linen module.
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    exp_0(function(log_0(x))), points.

  Examples:
    >>> x = jnp.array([3.0, -4.0])
    >>> in_tangent(lambda u: -u, x, 1.0).round(4)
    Array([-3.,  4.], dtype=float32)
  """
  return from_tangent(function(to_tangent(x, curv)), curv)


def relu(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Applies ReLU to tangent vectors at the root.

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> relu(jnp.array([-1.0, 0.0]), 1.0)
    Array([0., 0.], dtype=float32)
  """
  return in_tangent(jax.nn.relu, x, curv)


def change_curvature(
  x: Float[Array, "*batch dim"], curv: Scalar, target: Scalar
) -> Float[Array, "*batch dim"]:
  """Moves points to a space of another curvature; distances to the root stay.

  Args:
    x: points.
    curv: c, where the curvature is -c.
    target: c of the other space.

  Returns:
    Points of the other space.

  Examples:
    >>> x = change_curvature(jnp.array([jnp.sinh(1.0), 0.0]), 1.0, 4.0)
    >>> f"{x[0]:.4f}"  # sinh(2) / 2
    '1.8134'
  """
  return from_tangent(to_tangent(x, curv), target)


def residual(
  x: Float[Array, "*batch dim"], skip: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Adds what a block computed and what went past it, x (+) skip.

  Args:
    x: points, the output of the block.
    skip: points, its input.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> x = jnp.array([3.0, -4.0])
    >>> residual(x, 0 * x, 1.0)
    Array([ 3., -4.], dtype=float32)
  """
  return boosts.add(x, skip, curv)


def centroid_residual(
  x: Float[Array, "*batch dim"], skip: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Takes the point halfway between a block's output and its input.

  Args:
    x: points, the output of the block.
    skip: points, its input.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> x = jnp.array([3.0, -4.0])
    >>> centroid_residual(x, -x, 1.0)
    Array([0., 0.], dtype=float32)
  """
  return lorentz.centroid(jnp.stack([x, skip], axis=-2), curv)
