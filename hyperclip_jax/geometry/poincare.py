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
from jaxtyping import Complex, Float

from hyperclip_jax.geometry import (
  boosts,
  hyperplanes,
  lorentz,
  means,
  numerics,
)
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


def midpoint(
  p: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Computes gyromidpoints, the Lorentz centroids of `lorentz.centroid`.

  Args:
    p: points of the ball; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Points of the ball.

  Examples:
    >>> midpoint(jnp.array([[0.8, 0.0], [0.0, 0.0]]), 1.0).round(4)
    Array([0.5, 0. ], dtype=float32)
  """
  return from_lorentz(
    lorentz.centroid(to_lorentz(p, curv), curv, weights), curv
  )


def frechet_mean(
  p: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Finds the points of the least squared distances; see `means.frechet_mean`.

  Args:
    p: points of the ball; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Points of the ball.

  Examples:
    >>> frechet_mean(jnp.array([[0.8, 0.0], [0.0, 0.0]]), 1.0).round(4)
    Array([0.5, 0. ], dtype=float32)
  """
  x = to_lorentz(p, curv)
  return from_lorentz(means.frechet_mean(x, curv, weights), curv)


def frechet_variance(
  p: Float[Array, "*batch n dim"],
  mean: Float[Array, "*batch dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch"]:
  """Computes means of squared distances to a point; see `means.variance`.

  Args:
    p: points of the ball; the mean is over axis -2.
    mean: points of the ball.
    curv: c, where the curvature is -c.
    weights: non-negative numbers, not all 0; None for equal weights.

  Returns:
    Variances.

  Examples:
    >>> p = jnp.array([[0.8, 0.0], [0.0, 0.0]])
    >>> frechet_variance(p, jnp.zeros(2), 1.0).round(4)  # log(9)^2 / 2
    Array(2.4139, dtype=float32)
  """
  x, mu = to_lorentz(p, curv), to_lorentz(mean, curv)
  return means.variance(x, mu, curv, weights)


def hyperplane_dists(
  p: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Computes multinomial logistic regressions; see `hyperplanes.logits`.

  Args:
    p: points of the ball.
    z: normals, one a column.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Logits, 2 |z| times signed distances.

  Examples:
    >>> p = jnp.array([[jnp.tanh(0.5), 0.0]])  # at distance 1
    >>> hyperplane_dists(p, jnp.eye(2), None, 1.0).round(4)
    Array([[2., 0.]], dtype=float32)
  """
  return hyperplanes.logits(to_lorentz(p, curv), z, r, curv)


def fully_connected(
  p: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Maps points to points; see `hyperplanes.fully_connected`.

  Args:
    p: points of the ball.
    z: normals, one a column.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Points of the ball.

  Examples:
    >>> p = jnp.array([0.6, 0.0])
    >>> f"{fully_connected(p, jnp.eye(2) / 2, None, 1.0)[0]:.4f}"
    '0.6000'
  """
  x = hyperplanes.fully_connected(to_lorentz(p, curv), z, r, curv)
  return from_lorentz(x, curv)


def _far(v, curv):
  """Maps tangent vectors to points, none farther than a ball can tell."""
  # What is left to the boundary, 1 - tanh(d / 2) = 2 exp(-d), is then less than
  # rounding. Farther out the exponential would overflow.
  longest = (4 - math.log(jnp.finfo(v.dtype).eps)) / jnp.sqrt(curv)
  return lorentz.expmap0(numerics.shorten(v, longest), curv)


def _conformal(p, curv):
  """Computes lambda_p = 2 / (1 - c |p|^2)."""
  return 2 / (1 - curv * dot(p, p))


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
