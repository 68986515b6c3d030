"""Inner products and distances of the Lorentz model.

Points and arrays are those of `geometry.lorentz`, which has these functions,
too.
"""

from jaxtyping import Float

from hyperclip_jax.geometry import elementary, numerics, stable
from hyperclip_jax.geometry.numerics import Array, Scalar, namespace, norm
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
    >>> from hyperclip_jax.geometry.lorentz import expmap0
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
    >>> from hyperclip_jax.geometry.lorentz import expmap0
    >>> x = expmap0(jnp.array([3.0, 0.0]), 1.0)
    >>> float(dist(x, jnp.zeros(2), 1.0))
    3.0
    >>> jax.grad(dist)(x, x, 1.0)
    Array([0., 0.], dtype=float32)
  """
  angle = elementary.acosh1p(stable.excess(x, y, curv))
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
    >>> from hyperclip_jax.geometry.lorentz import expmap0
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
  angle = elementary.acosh1p(stable.excess_of_times(tau_x, tau_y, xy, curv))
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
  root_curv = namespace(x, curv).sqrt(curv)
  return elementary.asinh(root_curv * norm(x)) / root_curv
