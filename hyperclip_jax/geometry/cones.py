"""Entailment cones of the Lorentz model: their apertures, and angles at them.

Points and arrays are those of `geometry.lorentz`, which has these functions,
too.

References:
  Ganea et al., Hyperbolic Entailment Cones for Learning Hierarchical
    Embeddings, ICML 2018.
  Desai et al., Hyperbolic Image-Text Representations (MERU), ICML 2023.
"""

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import numerics, stable
from hyperclip_jax.geometry.numerics import Array, Scalar, dot, namespace, norm

MIN_RADIUS = 0.1  # K of MERU and HyCoCLIP


def half_aperture(
  x: Float[Array, "*batch dim"], curv: Scalar, min_radius: Scalar = MIN_RADIUS
) -> Float[Array, "*batch"]:
  """Computes half apertures of the entailment cones at x, in (0, pi/2].

  asin(2 K / (sqrt(c) |x|)) with K = min_radius; pi/2, with zero gradient,
  where sqrt(c) |x| <= 2 K (MERU, Desai et al., 2023). The slope
  has no bound just outside that ball.

  Args:
    x: cone apexes.
    curv: c, where the curvature is -c.
    min_radius: K, the scale of the cones.

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
