"""The Poincare ball of curvature -curv, radius 1/sqrt(curv).

For plots and for exchange with other libraries; train in `lorentz`. A float32
ball has no room beyond a radius of about 16/sqrt(curv): points p must satisfy
curv |p|^2 < 1.
"""

import jax.numpy as jnp
from jaxtyping import Complex, Float

from hyperclip_jax.geometry import lorentz, numerics
from hyperclip_jax.geometry.numerics import Array, Scalar, dot, namespace


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


def disk_radius(
  distance: float | Float[Array, "*batch"], curv: Scalar
) -> float | Float[Array, "*batch"]:
  """How far from the middle of the ball, scaled to radius 1, points lie.

  tanh(sqrt(c) d / 2).

  Args:
    distance: d, distances from the root.
    curv: c, where the curvature is -c.

  Returns:
    Numbers in [0, 1].

  Examples:
    >>> float(disk_radius(jnp.array(2.0), 1.0))  # tanh(1)
    0.7615...
  """
  xp = namespace(distance, curv)
  return xp.tanh(xp.sqrt(curv) * distance / 2)


def disk_distance(
  radius: float | Float[Array, "*batch"], curv: Scalar
) -> float | Float[Array, "*batch"]:
  """Distances from the root; inverse of `disk_radius`.

  Args:
    radius: numbers in [0, 1).
    curv: c, where the curvature is -c.

  Returns:
    2 artanh(radius) / sqrt(c).

  Examples:
    >>> float(disk_distance(jnp.array(0.5), 1.0))  # log(3)
    1.0986...
  """
  xp = namespace(radius, curv)
  return 2 * xp.arctanh(radius) / xp.sqrt(curv)


def translate(
  z: Complex[Array, "*#batch"], a: Complex[Array, "*#batch"] | complex
) -> Complex[Array, "*#batch"]:
  """Translates the unit disk, as complex numbers, so that 0 moves to a.

  The isometry is the Moebius map (z + a) / (1 + conj(a) z), which preserves
  geodesics and angles.

  Args:
    z: points of the disk.
    a: image of 0; -a moves a to 0.

  Returns:
    Points of the disk.

  Examples:
    >>> translate(jnp.array([0j, -0.5 + 0j]), 0.5 + 0j)
    Array([0.5+0.j, 0. +0.j], dtype=complex64)
  """
  return (z + a) / (1 + namespace(z, a).conj(a) * z)
