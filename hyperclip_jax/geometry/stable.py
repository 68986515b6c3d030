"""Forms of Lorentz quantities that do not cancel.

Far from the root the terms of the textbook formulas grow as the exponential of
the radius while their differences stay small. The forms here, on which
`geometry.lorentz` is built, keep the digits of the coordinates. Points and
tangent vectors are given by their space components.
"""

from jaxtyping import Float

from hyperclip_jax.geometry.numerics import Array, Scalar, dot, namespace


def time(x: Float[Array, "*batch dim"], curv: Scalar) -> Float[Array, "*batch"]:
  """Computes the time components of points, t = sqrt(1/c + |x|^2).

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Times, at least 1/sqrt(c).

  Examples:
    >>> float(time(jnp.array([3.0, 4.0]), 1.0))  # sqrt(26)
    5.0990...
  """
  return namespace(x, curv).sqrt(1 / curv + dot(x, x))


def excess_time(
  x: Float[Array, "*batch dim"], curv: Scalar
) -> Float[Array, "*batch"]:
  """Computes t - 1/sqrt(c), as |x|^2 / (t + 1/sqrt(c)).

  Args:
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Excess times, at least 0.
  """
  xp = namespace(x, curv)
  return dot(x, x) / (time(x, curv) + 1 / xp.sqrt(curv))


def excess_of_times(
  tau_x: Float[Array, "*#batch"],
  tau_y: Float[Array, "*#batch"],
  xy: Float[Array, "*#batch"],
  curv: Scalar,
) -> Float[Array, "*#batch"]:
  """Computes cosh(sqrt(c) d) - 1 from excess times and x.y.

  It is sqrt(c) (tau_x + tau_y) + c tau_x tau_y - c x.y.

  Args:
    tau_x: excess times of the points x.
    tau_y: excess times of the points y.
    xy: Euclidean inner products x.y.
    curv: c, where the curvature is -c.

  Returns:
    Excess; rounding may make it negative.
  """
  xp = namespace(xy, curv)
  return xp.sqrt(curv) * (tau_x + tau_y) + curv * tau_x * tau_y - curv * xy


def excess(
  x: Float[Array, "*#batch dim"], y: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes cosh(sqrt(c) d) - 1 of pairs of points.

  The result is nearly as exact as the points are stored.

  Relative to cosh(sqrt(c) d) the error is a few ulp, and far from the root a
  part of what rounding the points changes, eps sqrt(c) (t_x + t_y) times
  tanh(sqrt(c) d).

  Where x.y < 0 the form of `excess_of_times` sums positive terms. Elsewhere

    (t_x t_y - x.y - 1/c) (t_x t_y + x.y + 1/c) = t_x^2 |x - y|_x^2,

  with |.|_x the length of a tangent vector at x, gives it as a quotient of
  positive terms. No norm appears, so both are smooth at x = y and at the root.

  Args:
    x: points.
    y: points.
    curv: c, where the curvature is -c.

  Returns:
    Excess, at least 0.
  """
  xp = namespace(x, y, curv)
  xy = dot(x, y)
  acute = xy >= 0
  # Seen from the point nearer to the root the lengths lose less.
  swap = (dot(x, x) > dot(y, y))[..., None]
  x, y = xp.where(swap, y, x), xp.where(swap, x, y)
  t_x, t_y = time(x, curv), time(y, curv)
  # t_x^2 / (1/c + t_x t_y + x.y), in factors that float32 can square again.
  cosine = xp.where(acute, xy / t_x / t_y, 0)
  quotient = t_x / t_y / (1 + 1 / (curv * t_x * t_y) + cosine)
  return xp.where(
    acute,
    curv * quotient * squared_length(x - y, x, curv),
    excess_of_times(excess_time(x, curv), excess_time(y, curv), xy, curv),
  )


def squared_length(
  v: Float[Array, "*#batch dim"], x: Float[Array, "*#batch dim"], curv: Scalar
) -> Float[Array, "*#batch"]:
  """Computes squared lengths of tangent vectors, |v|^2 - (x.v / t)^2.

  Far from the root the difference cancels if v is radial. Subtracting k =
  x.v / t^2 times the point from the vector removes its time component, and
  turns the difference into a sum.

  Args:
    v: tangent vectors at x.
    x: points.
    curv: c, where the curvature is -c.

  Returns:
    Squared lengths, at least 0.
  """
  k = dot(x, v) / (1 / curv + dot(x, x))
  across = v - k[..., None] * x
  return dot(across, across) + k * k / curv


def split(
  x: Float[Array, "*#batch dim"], mu: Float[Array, "*#batch dim"], curv: Scalar
) -> tuple[
  Float[Array, "*#batch"], Float[Array, "*#batch dim"], Float[Array, "*#batch"]
]:
  """Writes points x as (1 + along) mu + rest, in Minkowski space.

  1 + along is the ratio of the times, so that the rest has no time component.
  Distances follow without cancellation, cosh(sqrt(c) d) - 1 = (c |rest|^2 +
  along^2) / (2 (1 + along)), and log_mu(x) is a multiple of rest + (along -
  excess) mu.

  Args:
    x: points.
    mu: points to look from.
    curv: c, where the curvature is -c.

  Returns:
    Along, rest and the excess cosh(sqrt(c) d(x, mu)) - 1.
  """
  t, t_mu = time(x, curv), time(mu, curv)
  rest = x - (t / t_mu)[..., None] * mu
  along, excess = along_and_excess(x, t, mu, t_mu, rest, curv)
  return along, rest, excess


def along_and_excess(
  x: Float[Array, "*#batch dim"],
  t: Float[Array, "*#batch"],
  mu: Float[Array, "*#batch dim"],
  t_mu: Float[Array, "*#batch"],
  rest: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> tuple[Float[Array, "*#batch"], Float[Array, "*#batch"]]:
  """Computes what `split` returns where times and the rest are known.

  Args:
    x: points.
    t: times of x.
    mu: points to look from.
    t_mu: times of mu.
    rest: x - (t / t_mu) mu.
    curv: c, where the curvature is -c.

  Returns:
    Along and excess.
  """
  root = curv**-0.5
  # Near the root t - t_mu has fewer digits than the excess times.
  along = (dot(x, x) / (t + root) - dot(mu, mu) / (t_mu + root)) / t_mu
  excess = (curv * dot(rest, rest) + along**2) * (t_mu / t / 2)
  return along, excess


def along_and_across(
  r: Float[Array, "*#batch"],
  n: Float[Array, "*#batch dim"],
  x: Float[Array, "*#batch dim"],
  y: Float[Array, "*#batch dim"],
  curv: Scalar,
) -> tuple[Float[Array, "*#batch"], Float[Array, "*#batch dim"]]:
  """Splits y, as seen from x, into parts along and across the ray to x.

  With p = n.y, the parts are t_x p - |x| t_y, positive if y lies outward of x,
  and y - p n. With the outward unit tangent vector u = sqrt(c) t_x n at x,
  `<y, u> = sqrt(c) (t_x p - |x| t_y)`.

  Args:
    r: lengths |x|.
    n: directions x/|x|, or 0 at the root.
    x: points to look from.
    y: points to look at.
    curv: c, where the curvature is -c.

  Returns:
    Part along the ray, and the part across it, which is orthogonal to n.
  """
  xp = namespace(x, y, curv)
  t_x, t_y = time(x, curv), time(y, curv)
  p, ahead = dot(n, y), dot(n, y - x)  # ahead = p - r
  # y - p n, from y or from y - x, whichever is shorter along the ray.
  near = xp.abs(p) < xp.abs(ahead)
  across = xp.where(near[..., None], y, y - x)
  across = across - xp.where(near, p, ahead)[..., None] * n
  # t_x p - r t_y cancels when y is outward of x, so p > 0: take the part of
  # the line through the root, t_x p - r t_p, as a difference of squares.
  outward = p > 0
  p_safe = xp.where(outward, p, 1)
  t_p = xp.sqrt(1 / curv + p_safe**2)
  line = ahead * ((p_safe + r) / (curv * (t_x * p_safe + r * t_p)))
  aside = r * (dot(across, across) / (t_y + t_p))
  return xp.where(outward, line - aside, t_x * p - r * t_y), across
