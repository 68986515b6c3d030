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

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import numerics, stable
from hyperclip_jax.geometry.numerics import Array, Scalar, dot, namespace, norm
from hyperclip_jax.geometry.stable import time


def inner(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes Lorentz inner products x.y - t_x t_y of pairs of points.

  The form -cosh(sqrt(c) d) / c keeps its digits near -1/c, where the terms
  above cancel far from the root (Nickel and Kiela, 2018).

  Args:
    x: points.
    y: points.
    curv: c, where the curvature is -c.

  Returns:
    Inner products, at most -1/c; higher is nearer.

  Examples:
    >>> x = expmap0(jnp.array([9.0, 0.0]), 1.0)
    >>> float(inner(x, x, 1.0))
    -1.0
  """
  return -(1 + stable.excess(x, y, curv)) / curv


def pairwise_inner(
  x: Float[Array, "*batch n dim"], y: Float[Array, "*batch m dim"], curv: Scalar
) -> Float[Array, "*batch n m"]:
  """Computes Lorentz inner products of all pairs, by one matrix product.

  The terms x.y and t_x t_y grow with the times, so a float32 result has an
  error of about 1e-7 t_x t_y, at worst 6e-7 t_x t_y. Far from the root this
  loses the order of near candidates: of ten at distances of 0.5 to 1 (dim 512,
  c = 1) a wrong one came first for no query up to radius 4, for up to 1% at 5,
  8% at 6, 43% at 7, 84% at 8 and over 90% at 9 and 10. Moving the centroid of
  the candidates to the root helps only if they are all close together. To rank
  points beyond radius 4/sqrt(c) use float64, or `dist` row by row, which ranks
  correctly up to radius 10 at some forty times the cost on a CPU.

  Args:
    x: points, n of them.
    y: points, m of them.
    curv: c, where the curvature is -c.

  Returns:
    Inner products; higher is nearer.

  Examples:
    >>> pairwise_inner(jnp.zeros((2, 3)), jnp.zeros((4, 3)), 1.0).shape
    (2, 4)
  """
  times = time(x, curv)[..., :, None] * time(y, curv)[..., None, :]
  return numerics.products(x, y) - times


def dist(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes geodesic distances, accurate at every distance.

  They are `acosh(-c <x, y>) / sqrt(c)`, of the Lorentz inner product.

  The gradient is 0 at x = y (Nickel and Kiela, 2018).

  Args:
    x: points.
    y: points.
    curv: c, where the curvature is -c.

  Returns:
    Distances.

  Examples:
    >>> x = expmap0(jnp.array([3.0, 0.0]), 1.0)
    >>> float(dist(x, jnp.zeros(2), 1.0))
    3.0
    >>> jax.grad(dist)(x, x, 1.0)
    Array([0., 0.], dtype=float32)
  """
  angle = numerics.acosh1p(stable.excess(x, y, curv))
  return angle / namespace(angle, curv).sqrt(curv)


def pairwise_dist(
  x: Float[Array, "*batch n dim"], y: Float[Array, "*batch m dim"], curv: Scalar
) -> Float[Array, "*batch n m"]:
  """Computes geodesic distances of all pairs, from one matrix product.

  With the excess time tau = t - 1/sqrt(c), cosh(sqrt(c) d) - 1 equals
  sqrt(c) (tau_x + tau_y) + c tau_x tau_y - c x.y. The sum cancels when the
  points are much closer to each other than to the root: in float32 at radius
  1, c = 1, a distance of 0.01 is good to three digits. Use `dist` for the
  pairs that matter. Near candidates are ranked no better than by
  `pairwise_inner`: reliably to radius 4/sqrt(c) in float32, and mostly wrong
  from 8/sqrt(c) on.

  Args:
    x: points, n of them.
    y: points, m of them.
    curv: c, where the curvature is -c.

  Returns:
    Distances, 0 with zero gradient where rounding makes the excess negative.

  Examples:
    >>> x = expmap0(jnp.array([[1.0, 0.0], [2.0, 0.0]]), 1.0)
    >>> pairwise_dist(x, jnp.zeros((1, 2)), 1.0).round(4)
    Array([[1.],
           [2.]], dtype=float32)
  """
  tau_x, tau_y = (
    stable.excess_time(x, curv)[..., :, None],
    stable.excess_time(y, curv)[..., None, :],
  )
  xy = numerics.products(x, y)
  angle = numerics.acosh1p(stable.excess_of_times(tau_x, tau_y, xy, curv))
  return angle / namespace(angle, curv).sqrt(curv)


def dist0(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch"]:
  """Computes geodesic distances to the root, asinh(sqrt(c) |x|) / sqrt(c).

  The gradient is 0 at the root.

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Distances; the radius of each point.

  Examples:
    >>> float(dist0(jnp.array([0.0, jnp.sinh(2.0)]), 1.0))
    2.0
  """
  xp = namespace(x, curv)
  root_curv = xp.sqrt(curv)
  return xp.arcsinh(root_curv * norm(x)) / root_curv


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
  return numerics.sinhc(curv * dot(v, v))[..., None] * v


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
  return numerics.asinhc(curv * dot(x, x))[..., None] * x


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
  grown = numerics.coshm1(angle2)[..., None] * x
  return x + (grown + numerics.sinhc(angle2)[..., None] * v)


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
  angle2 = numerics.squared_acosh1p(excess)
  direction = (y - x) - excess[..., None] * x
  return direction / numerics.sinhc(angle2)[..., None]


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
  hyperboloid (Law et al., 2019). The scale, which cancels as a difference of
  squares, is computed as sqrt(1 + 2 u + u^2 / (c t_m^2)): m is the point with
  the space components of the mean, and u the mean of cosh(sqrt(c) d(x_i, m)) -
  1.

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
    >>> centroid(x, 1.0, jnp.array([2.0, 0.0])).tolist()
    [1.0, 0.0]
  """
  given = jnp.ones_like(x[..., 0]) if weights is None else weights
  given = numerics.over_largest(given)
  shares = given / jnp.sum(given, axis=-1, keepdims=True)
  mean = jnp.sum(shares[..., None] * x, axis=-2)
  u = dot(shares, stable.excess(x, mean[..., None, :], curv))
  scale2 = 1 + 2 * u + (u / (jnp.sqrt(curv) * time(mean, curv))) ** 2
  return mean / jnp.sqrt(scale2)[..., None]


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
  angle2 = numerics.squared_acosh1p(stable.excess(x, y, curv))
  whole = numerics.sinhc(angle2)
  weight_x = (1 - t) * numerics.sinhc((1 - t) ** 2 * angle2) / whole
  weight_y = t * numerics.sinhc(t**2 * angle2) / whole
  return weight_x[..., None] * x + weight_y[..., None] * y


def half_aperture(
  x: Float[Array, "*batch dim"], curv: Scalar, min_radius: Scalar = 0.1
) -> Float[Array, "*batch"]:
  """Computes half apertures of the entailment cones at x, in (0, pi/2].

  asin(2 K / (sqrt(c) |x|)) with K = min_radius; pi/2, with zero gradient,
  where sqrt(c) |x| <= 2 K (MERU, Desai et al., 2023). The slope
  has no bound just outside that ball.

  Args:
    x: cone apexes.
    curv: c, where the curvature is -c.
    min_radius: K, the scale of the cones; MERU and HyCoCLIP use 0.1.

  Returns:
    Angles in radians.

  Examples:
    >>> float(half_aperture(jnp.array([0.4, 0.0]), 1.0))  # asin(1/2) = pi/6
    0.5235...
  """
  # asin(a / b) = atan2(a, sqrt(b^2 - a^2)), which has no infinite slope times
  # zero at a = b, and keeps its digits there.
  outside = numerics.sqrt(curv * dot(x, x) - 4 * min_radius**2)
  xp = namespace(outside)
  return xp.arctan2(xp.full_like(outside, 2 * min_radius), outside)


def exterior_angle(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes angles at x between the ray from the root and the geodesic to y.

  The angle is 0 if y lies straight outward of x and pi if it lies towards the
  root; x entails y if the angle is at most `half_aperture(x)` (MERU, Desai et
  al., 2023). Where it is undefined it is 0 at x = y, so that a point lies in
  its own cone, and pi/2 at x = 0.

  With n = x/|x|, p = n.y and q = |y - p n| the angle is
  atan2(q, sqrt(c) (t_x p - |x| t_y)).

  It has a kink where y lies on the line through the root and x. If every
  coordinate is within a few roundings of that line, the value is exactly 0 or
  pi and the gradients for x, y and c are exactly 0, compiled or not. Beyond
  that, the gradient has its full length.

  Args:
    x: cone apexes.
    y: points seen from x.
    curv: c, where the curvature is -c.

  Returns:
    Angles in radians, in [0, pi].

  Examples:
    >>> x = jnp.array([0.3, 0.4])
    >>> float(exterior_angle(x, 0 * x, 1.0))
    3.1415...
    >>> jax.grad(exterior_angle)(x, 2 * x, 1.0)
    Array([0., 0.], dtype=float32)
  """
  xp = namespace(x, y, curv)
  r = norm(x)
  n = xp.where(r > 0, 1 / xp.where(r > 0, r, 1), 0)[..., None] * x
  along, across = stable.along_and_across(r, n, x, y, curv)
  # What rounding leaves of a zero, up to 4 eps, in every coordinate.
  rounding = 8 * xp.finfo(across.dtype).eps
  size = xp.minimum(xp.abs(y), xp.abs(y - x))
  on_ray = xp.all(xp.abs(across) <= rounding * size, axis=-1)
  q = xp.where(on_ray, 0, norm(across))
  return numerics.atan2(q, xp.sqrt(curv) * along)


def pairwise_exterior_angle(
  x: Float[Array, "n dim"], y: Float[Array, "m dim"], curv: Scalar
) -> Float[Array, "n m"]:
  """Computes exterior angles at every x to every y.

  Rows are computed one by one, since in matrix products |y|^2 - p^2 loses the
  small angles that decide whether y is inside a cone.

  Args:
    x: cone apexes, n of them.
    y: points, m of them.
    curv: c, where the curvature is -c.

  Returns:
    Angles in radians.

  Examples:
    >>> pairwise_exterior_angle(jnp.ones((2, 3)), jnp.ones((4, 3)), 1.0).shape
    (2, 4)
  """

  @jax.checkpoint  # a row's residuals are m times larger than its result
  def row(x_D):
    return exterior_angle(x_D[None, :], y, curv)

  return jax.lax.map(row, x)
