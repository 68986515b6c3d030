"""The Poincare ball of curvature -curv, radius 1/sqrt(curv).

For plots and for exchange with other libraries; train in `lorentz`. A float32
ball has no room beyond a radius of about 16/sqrt(curv): points p must satisfy
curv |p|^2 < 1. At radius 8, 10 and 15 the factor lambda = 2 / (1 - c |p|^2) is
off by 6e-5, 2e-4 and 3e-2 of itself, whatever is computed from it.

The functions are views of those of `lorentz`, `boosts`, `means` and
`hyperplanes`, with which they share values, derivatives and edges. A tangent
vector u of the ball at the root is that of `lorentz` halved: its length is
2 |u|.

References:
  Ganea et al., Hyperbolic Neural Networks, NeurIPS 2018.
  Shimizu et al., Hyperbolic Neural Networks++, ICLR 2021.
"""

import math

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import boosts, elementary, lorentz, numerics
from hyperclip_jax.geometry.ball import from_lorentz, to_lorentz
from hyperclip_jax.geometry.ball_layers import (
  frechet_mean,
  frechet_variance,
  fully_connected,
  hyperplane_dists,
  midpoint,
)
from hyperclip_jax.geometry.disk import disk_distance, disk_radius, translate
from hyperclip_jax.geometry.numerics import Array, Scalar, dot

__all__ = [
  "add",
  "disk_distance",
  "disk_radius",
  "dist",
  "expmap",
  "expmap0",
  "frechet_mean",
  "frechet_variance",
  "from_lorentz",
  "fully_connected",
  "gradient",
  "gyration",
  "hyperplane_dists",
  "inner",
  "logmap",
  "logmap0",
  "midpoint",
  "pairwise_dist",
  "project",
  "ptransp",
  "to_lorentz",
  "translate",
]


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
  return elementary.acosh1p(excess) / jnp.sqrt(curv)


def pairwise_dist(
  p: Float[Array, "*batch n dim"], q: Float[Array, "*batch m dim"], curv: Scalar
) -> Float[Array, "*batch n m"]:
  """Computes geodesic distances of all pairs, as `lorentz.pairwise_dist` does.

  Args:
    p: points of the ball, n of them.
    q: points of the ball, m of them.
    curv: c, where the curvature is -c.

  Returns:
    Distances.

  Examples:
    >>> p = jnp.array([[0.0, 0.0], [jnp.tanh(1.0), 0.0]])
    >>> pairwise_dist(p, p, 1.0).round(4)
    Array([[0., 2.],
           [2., 0.]], dtype=float32)
  """
  x, y = to_lorentz(p, curv), to_lorentz(q, curv)
  return lorentz.pairwise_dist(x, y, curv)


def add(
  p: Float[Array, "*#batch dim"], q: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Computes Möbius sums p (+) q; see `boosts.add`.

  Args:
    p: points of the ball, the images of the root.
    q: points of the ball that are moved.
    curv: c, where the curvature is -c.

  Returns:
    Points of the ball.

  Examples:
    >>> p = jnp.array([0.5, 0.0])
    >>> f"{add(p, p, 1.0)[0]:.4f}"
    '0.8000'
  """
  x, y = to_lorentz(p, curv), to_lorentz(q, curv)
  return from_lorentz(boosts.add(x, y, curv), curv)


def gyration(
  p: Float[Array, "*#batch dim"],
  q: Float[Array, "*#batch dim"],
  w: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch dim"]:
  """Rotates w by gyr[p, q]; see `boosts.gyration`.

  Args:
    p: points of the ball.
    q: points of the ball.
    w: points of the ball, or tangent vectors at the root.
    curv: c, where the curvature is -c.

  Returns:
    Rotated w.

  Examples:
    >>> p = jnp.array([0.5, 0.0])
    >>> f"{gyration(p, p, jnp.array([0.1, 0.2]), 1.0)[1]:.4f}"
    '0.2000'
  """
  return boosts.gyration(to_lorentz(p, curv), to_lorentz(q, curv), w, curv)


def expmap0(
  u: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps tangent vectors at the root to points, tanh(k |u|) / (k |u|) u.

  Args:
    u: tangent vectors at the root; 2 |u| is the distance to go.
    curv: c = k^2, where the curvature is -c.

  Returns:
    Points of the ball.

  Examples:
    >>> expmap0(jnp.array([1.0, 0.0]), 1.0)  # tanh(1)
    Array([0.7615..., 0.       ], dtype=float32)
  """
  return from_lorentz(_far(2 * u, curv), curv)


def logmap0(
  p: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps points to tangent vectors at the root, artanh(k |p|) / (k |p|) p.

  Args:
    p: points of the ball.
    curv: c = k^2, where the curvature is -c.

  Returns:
    Tangent vectors at the root, half as long as the points are far from it.

  Examples:
    >>> logmap0(jnp.array([jnp.tanh(1.0), 0.0]), 1.0).round(4)
    Array([1., 0.], dtype=float32)
  """
  return lorentz.logmap0(to_lorentz(p, curv), curv) / 2


def expmap(
  p: Float[Array, "*#batch dim"], v: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Maps tangent vectors at p to points, p (+) exp_0(lambda_p v / 2).

  Args:
    p: points of the ball to start from.
    v: tangent vectors at p.
    curv: c, where the curvature is -c.

  Returns:
    Points of the ball at the distance lambda_p |v| from p.

  Examples:
    >>> p = jnp.array([0.5, 0.0])
    >>> v = logmap(p, jnp.array([0.0, 0.5]), 1.0)
    >>> f"{expmap(p, v, 1.0)[1]:.4f}"
    '0.5000'
  """
  step = _far(_conformal(p, curv)[..., None] * v, curv)
  return from_lorentz(boosts.add(to_lorentz(p, curv), step, curv), curv)


def logmap(
  p: Float[Array, "*#batch dim"], q: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Finds the tangent vectors at p that lead to q; inverse of `expmap`.

  log_p(q) = 2 / lambda_p log_0(-p (+) q); 0, with identity Jacobian, at p = q.

  Args:
    p: points of the ball to start from.
    q: points of the ball to reach.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at p.

  Examples:
    >>> logmap(jnp.zeros(2), jnp.array([jnp.tanh(1.0), 0.0]), 1.0).round(4)
    Array([1., 0.], dtype=float32)
  """
  seen = boosts.add(-to_lorentz(p, curv), to_lorentz(q, curv), curv)
  return lorentz.logmap0(seen, curv) / _conformal(p, curv)[..., None]


def ptransp(
  p: Float[Array, "*#batch dim"],
  q: Float[Array, "*#batch dim"],
  v: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch dim"]:
  """Transports tangent vectors from p to q, gyr[q, -p] v lambda_p / lambda_q.

  Args:
    p: points of the ball to start from.
    q: points of the ball to reach.
    v: tangent vectors at p.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at q; lengths and angles stay.

  Examples:
    >>> p = jnp.array([0.5, 0.0])
    >>> f"{ptransp(p, jnp.zeros(2), jnp.array([0.0, 0.3]), 1.0)[1]:.4f}"
    '0.4000'
  """
  scale = _conformal(p, curv) / _conformal(q, curv)
  return scale[..., None] * gyration(q, -p, v, curv)


def inner(
  p: Float[Array, "*#batch dim"],
  u: Float[Array, "*#batch dim"],
  v: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch"]:
  """Computes inner products of tangent vectors, lambda_p^2 u.v.

  Args:
    p: points of the ball.
    u: tangent vectors at p.
    v: tangent vectors at p.
    curv: c, where the curvature is -c.

  Returns:
    Inner products.

  Examples:
    >>> float(inner(jnp.zeros(2), jnp.ones(2), jnp.ones(2), 1.0))
    8.0
  """
  return _conformal(p, curv) ** 2 * dot(u, v)


def gradient(
  p: Float[Array, "*#batch dim"], g: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Computes Riemannian gradients from Euclidean ones, g / lambda_p^2.

  Args:
    p: points of the ball.
    g: derivatives by the coordinates.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at p.

  Examples:
    >>> gradient(jnp.zeros(2), jnp.array([4.0, 0.0]), 1.0)
    Array([1., 0.], dtype=float32)
  """
  return g / (_conformal(p, curv) ** 2)[..., None]


def project(
  p: Float[Array, "*batch dim"], curv: Scalar, eps: float = 4e-3
) -> Float[Array, "*batch dim"]:
  """Pulls points back to sqrt(c) |p| <= 1 - eps, as HypLL and geoopt do.

  For parity: no function of this package needs it. The default is theirs for
  float32; theirs for float64 is 1e-5. The gradient of a point that is pulled
  back has no radial part.

  Args:
    p: points of the ball, or beyond.
    curv: c, where the curvature is -c.
    eps: distance from the boundary, of the ball scaled to radius 1.

  Returns:
    Points of the ball.

  Examples:
    >>> project(jnp.array([[3.0, 4.0], [0.3, 0.4]]), 1.0, eps=0.5)
    Array([[0.3, 0.4],
           [0.3, 0.4]], dtype=float32)
  """
  return numerics.shorten(p, (1 - eps) / jnp.sqrt(curv))


def _far(v, curv):
  """Maps tangent vectors to points, none farther than a ball can tell."""
  # What is left to the boundary, 1 - tanh(d / 2) = 2 exp(-d), is then less than
  # rounding. Farther out the exponential would overflow.
  longest = (4 - math.log(jnp.finfo(v.dtype).eps)) / jnp.sqrt(curv)
  return lorentz.expmap0(numerics.shorten(v, longest), curv)


def _conformal(p, curv):
  """Computes lambda_p = 2 / (1 - c |p|^2)."""
  return 2 / (1 - curv * dot(p, p))
