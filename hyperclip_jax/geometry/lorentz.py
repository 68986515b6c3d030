"""The Lorentz (hyperboloid) model of hyperbolic space.

A point of curvature -curv is given by its space components, (..., dim); the
time component follows from them. A tangent vector at x is likewise given by
its space components v; its time component is x.v / t(x). The root, or origin,
is the zero vector. Two points of one call broadcast against each other but
have the same rank, and `curv` > 0 is a python float or a 0-d array.

The functions take JAX arrays. Those that `spaces` uses also take NumPy arrays
and then compute on the host, in the precision of the arrays.

Values and first and second derivatives are finite without clamps, in float32
too, where the radii and the distances of the points are 0 or 1e-6 to about 10
(an exponential map overflows as sinh does, at sqrt(c) |v| = 88 in float32).
Where a function is not differentiable its gradient is 0: `dist` at x = y,
`dist0` at the root, `exterior_angle` at x = 0 and where y lies on the line
through the root and x, `half_aperture` at the rim of its inner ball. In float32
a point is stored to about 6e-8 cosh(sqrt(c) r) units of distance, r its radius;
apart from the pairwise matrix products and `expmap` towards the root, results
and their gradients are about as good.

References:
  Nickel and Kiela, Learning Continuous Hierarchies in the Lorentz Model of
    Hyperbolic Geometry, ICML 2018.
  Desai et al., Hyperbolic Image-Text Representations (MERU), ICML 2023.
  Law et al., Lorentzian Distance Learning, ICML 2019 (centroid).
"""

import functools

import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import elementary, numerics, stable
from hyperclip_jax.geometry.cones import (
  exterior_angle,
  half_aperture,
  pairwise_exterior_angle,
)
from hyperclip_jax.geometry.distances import (
  dist,
  dist0,
  inner,
  pairwise_dist,
  pairwise_inner,
)
from hyperclip_jax.geometry.numerics import Array, Scalar, dot
from hyperclip_jax.geometry.stable import time

__all__ = [
  "centroid",
  "dist",
  "dist0",
  "expmap",
  "expmap0",
  "exterior_angle",
  "geodesic",
  "half_aperture",
  "inner",
  "logmap",
  "logmap0",
  "pairwise_dist",
  "pairwise_exterior_angle",
  "pairwise_inner",
  "ptransp",
  "split_at_centroid",
  "time",
]


def expmap0(
  v: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps tangent vectors at the root to points.

  exp_0(v) = sinh(sqrt(c) |v|) / (sqrt(c) |v|) v.

  The lift of MERU (Desai et al., 2023).

  Args:
    v: tangent vectors at the root; |v| is the distance to go.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> expmap0(jnp.array([1.0, 0.0]), 1.0)  # sinh(1)
    Array([1.1752..., 0.       ], dtype=float32)
  """
  return elementary.sinhc(curv * dot(v, v))[..., None] * v


def logmap0(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch dim"]:
  """Maps points to tangent vectors at the root; inverse of `expmap0`.

  log_0(x) = asinh(sqrt(c) |x|) / (sqrt(c) |x|) x.

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at the root, as long as the points are far from it.

  Examples:
    >>> logmap0(jnp.array([jnp.sinh(2.0), 0.0]), 1.0)
    Array([2., 0.], dtype=float32)
  """
  return elementary.asinhc(curv * dot(x, x))[..., None] * x


def expmap(
  x: Float[Array, "*#batch dim"], v: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Maps tangent vectors at x to points.

  exp_x(v) = cosh(a) x + sinh(a) / a v, where a = sqrt(c) |v|_x and |v|_x is the
  length of v at x (Nickel and Kiela, 2018).

  Args:
    x: points to start from.
    v: tangent vectors at x.
    curv: c, where the curvature is -c.

  Returns:
    Points at the distance |v|_x from x.

  Examples:
    >>> expmap(jnp.zeros(2), jnp.array([1.0, 0.0]), 1.0)  # as expmap0
    Array([1.1752..., 0.       ], dtype=float32)
  """
  angle2 = curv * stable.squared_length(v, x, curv)
  grown = elementary.coshm1(angle2)[..., None] * x
  return x + (grown + elementary.sinhc(angle2)[..., None] * v)


def logmap(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch dim"]:
  """Finds the tangent vectors at x that lead to y; inverse of `expmap`.

  log_x(y) = a / sinh(a) (y - cosh(a) x), a = sqrt(c) d(x, y) (Nickel and Kiela,
  2018).

  Args:
    x: points to start from.
    y: points to reach.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at x of length d(x, y).

  Examples:
    >>> logmap(jnp.zeros(2), expmap0(jnp.array([0.5, 0.0]), 1.0), 1.0)
    Array([0.5, 0. ], dtype=float32)
  """
  excess = stable.excess(x, y, curv)
  angle2 = elementary.squared_acosh1p(excess)
  direction = (y - x) - excess[..., None] * x
  return direction / elementary.sinhc(angle2)[..., None]


def ptransp(
  x: Float[Array, "*#batch dim"],
  y: Float[Array, "*#batch dim"],
  v: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> Float[Array, "*#batch dim"]:
  """Transports tangent vectors from x to y, parallel along the geodesic.

  `v + <y, v> / (1/c - <x, y>) (x + y)`, along the geodesic from x to y (Chami
  et al., Hyperbolic Graph Convolutional Neural Networks, NeurIPS 2019).
  Lengths and angles between vectors stay.

  Args:
    x: points to start from.
    y: points to reach.
    v: tangent vectors at x.
    curv: c, where the curvature is -c.

  Returns:
    Tangent vectors at y.

  Examples:
    >>> x = expmap0(jnp.array([3.0, 0.0]), 1.0)
    >>> v = time(x, 1.0) * jnp.array([1.0, 0.0])  # radial, of length 1
    >>> ptransp(x, jnp.zeros(2), v, 1.0).round(4)
    Array([1., 0.], dtype=float32)
  """
  y_dot_v = _inner_with_tangent(x, y, v, curv)
  weight = curv * y_dot_v / (2 + stable.excess(x, y, curv))
  return v + weight[..., None] * (x + y)


def _inner_with_tangent(x, y, v, curv):
  """Computes `<y, v> = (y - x t_y / t_x).v` of the tangent vector v at x."""
  # Far out the vector in brackets is far shorter than its terms; there the
  # parts along x and across it are taken apart. Near the root, where x has no
  # direction, nothing cancels but t_y - t_x = (y - x).(x + y) / (t_x + t_y).
  r2 = dot(x, x)
  far = curv * r2 > 1
  r = jnp.sqrt(jnp.where(far, r2, 1))
  n = x / r[..., None]
  along, across = stable.along_and_across(r, n, x, y, curv)
  ahead = dot(n, v)
  t_x, t_y = time(x, curv), time(y, curv)
  apart = ahead * along / t_x + dot(across, v - ahead[..., None] * n)
  velocity = (x + y) / (t_x + t_y)[..., None]
  stretch = dot(y - x, velocity) / t_x
  together = dot(y - x - stretch[..., None] * x, v)
  return jnp.where(far, apart, together)


def centroid(
  x: Float[Array, "*batch n dim"],
  curv: Scalar,
  weights: Float[Array, "*batch n"] | None = None,
) -> Float[Array, "*batch dim"]:
  """Computes Lorentzian centroids of sets of points.

  A centroid minimises sum_i w_i (cosh(sqrt(c) d_i) - 1).

  It is the mean of the points in Minkowski space, scaled back to the
  hyperboloid (Law et al., 2019). That scale cancels as a difference of squares.
  With x_i = (t_i / t) m + y_i, t and m being the means of times and space
  components, the time of the centroid is the root of t over the mean of (1 + c
  |y_i|^2) / t_i, positive terms.

  Args:
    x: points; the mean is over axis -2.
    curv: c, where the curvature is -c.
    weights: non-negative numbers of any size, even subnormal, not all 0; None
      for equal weights. Their gradient grows as one over their sum, and
      overflows where that does.

  Returns:
    Centroids.

  Examples:
    >>> x = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> centroid(x, 1.0).tolist()
    [0.0, 0.0]
    >>> centroid(x, 1.0, jnp.array([2.0, 0.0])).round(4)
    Array([1., 0.], dtype=float32)
  """
  return _balance(x, curv, weights)[0]


def split_at_centroid(
  x: Float[Array, "*batch n dim"], curv: Scalar
) -> tuple[
  Float[Array, "*batch dim"],
  Float[Array, "*batch n"],
  Float[Array, "*batch n dim"],
  Float[Array, "*batch n"],
]:
  """Computes `centroid` and, in little more time, `stable.split` of x by it.

  Args:
    x: points; the mean is over axis -2.
    curv: c, where the curvature is -c.

  Returns:
    Centroids; along, rest and excess of the points.

  Examples:
    >>> x = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
    >>> mu, along, rest, excess = split_at_centroid(x, 1.0)
    >>> excess  # sqrt(2) - 1
    Array([0.414..., 0.414...], dtype=float32)
  """
  mu, t_mu, t, rest = _balance(x, curv, None)
  along, excess = stable.along_and_excess(
    x, t, mu[..., None, :], t_mu[..., None], rest, curv
  )
  return mu, along, rest, excess


def _balance(x, curv, weights):
  """Computes centroids, their times, the times of x, and `split`'s rest."""
  if weights is None:
    mean = functools.partial(jnp.mean, axis=-1)
    centre = jnp.mean(x, axis=-2)
  else:
    given = numerics.over_largest(weights)
    shares = given / jnp.sum(given, axis=-1, keepdims=True)
    mean = functools.partial(dot, shares)
    centre = jnp.sum(shares[..., None] * x, axis=-2)
  t = time(x, curv)
  mean_t = mean(t)
  slope = centre / mean_t[..., None]
  # Of a single point nothing is left, not even rounding.
  ahead = (t - mean_t[..., None])[..., None]
  rest = x - centre[..., None, :] - ahead * slope[..., None, :]
  inverse = mean((1 + curv * dot(rest, rest)) / t)
  # A ratio of means, in which what rounding does to long sums cancels.
  t_mu = jnp.sqrt(mean_t / inverse)
  return t_mu[..., None] * slope, t_mu, t, rest


def geodesic(
  x: Float[Array, "*#batch dim"],
  y: Float[Array, "*#batch dim"],
  t: float | Float[Array, "*#batch"] | Float[Array, ""],
  curv: Scalar,
) -> Float[Array, "*#batch dim"]:
  """Computes points at the fraction t of the way from x (t = 0) to y (t = 1).

  (sinh((1 - t) a) x + sinh(t a) y) / sinh(a), a = sqrt(c) d(x, y).

  Args:
    x: points to start from.
    y: points to reach.
    t: fractions of the way, for all pairs or one each.
    curv: c, where the curvature is -c.

  Returns:
    Points on the geodesics; beyond their ends where t is not in [0, 1].

  Examples:
    >>> x = expmap0(jnp.array([2.0, 0.0]), 1.0)
    >>> middle = geodesic(x, jnp.zeros(2), 0.5, 1.0)
    >>> float(dist0(middle, 1.0).round(4))
    1.0
  """
  angle2 = elementary.squared_acosh1p(stable.excess(x, y, curv))
  whole = elementary.sinhc(angle2)
  weight_x = (1 - t) * elementary.sinhc((1 - t) ** 2 * angle2) / whole
  weight_y = t * elementary.sinhc(t**2 * angle2) / whole
  return weight_x[..., None] * x + weight_y[..., None] * y
