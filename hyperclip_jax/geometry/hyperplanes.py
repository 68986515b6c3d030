"""Signed distances to hyperplanes and horospheres: logits of hyperbolic heads.

Points are space components of the Lorentz model. A hyperplane of
Hyperbolic Neural Networks++ has a normal z at the root and an offset r, half
its signed distance from the root.

References:
  Shimizu et al., Hyperbolic Neural Networks++, ICLR 2021.
  Ghadimi Atigh et al., Hyperbolic Busemann Learning with Ideal Prototypes,
    NeurIPS 2021.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import elementary, numerics, stable
from hyperclip_jax.geometry.numerics import Array, Scalar

SHORTEST = 1e-15  # of normals; shorter ones act as this
REACH = 40.0  # sqrt(c) times a distance; float32 squares of sinh end at 44


def logits(
  x: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Computes the multinomial logistic regression of Shimizu et al. (2021).

  v_j = 2 |z_j| / k asinh(k (cosh(2 k r_j) x.z_j / |z_j| - sinh(2 k r_j) t)),
  k = sqrt(c): 2 |z_j| times the signed distance to hyperplane j. For c -> 0 it
  tends to 4 (p.z - r |z|) with p = x / 2, the point of the ball.

  Args:
    x: points.
    z: normals, one a column; one that is 0 gives 0 where its offset is, and has
      the gradient 2 x.
    r: offsets; None for 0. Beyond k |r| = 20 they act as 20.
    curv: c, where the curvature is -c.

  Returns:
    Logits.

  Examples:
    >>> x = jnp.array([jnp.sinh(1.5), 0.0])  # at distance 1.5
    >>> logits(x, jnp.array([[0.5], [0.0]]), jnp.zeros(1), 1.0)
    Array([1.5], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  along = jnp.matmul(rc * x, z, precision=jax.lax.Precision.HIGHEST)
  k_t = rc * stable.time(x, curv)
  return from_projections(along, k_t, numerics.norm(z.T), r, curv)


def from_projections(
  along: Float[Array, "*batch out"],
  k_t: Float[Array, "*batch"],
  lengths: Float[Array, " out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Computes `logits` from products that a layer has computed in its own way.

  Args:
    along: sqrt(c) x.z of each point and normal.
    k_t: sqrt(c) t of each point.
    lengths: |z| of each normal.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Logits.

  Examples:
    >>> along = jnp.array([jnp.sinh(1.5)])
    >>> from_projections(along, jnp.cosh(1.5), jnp.ones(1), None, 1.0)
    Array([3.], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  lead = (None,) * (along.ndim - 1)
  # A normal of 0 has no direction. As a very short one it gives 0, and has the
  # gradient of the flat product: else it could never be trained.
  lengths = jnp.where(lengths > SHORTEST, lengths, SHORTEST)
  sine = along / lengths[lead]
  if r is not None:
    angle = jnp.clip(2 * rc * r, -REACH, REACH)
    sinh, cosh = elementary.sinh_and_cosh(angle)
    sine = cosh[lead] * sine - sinh[lead] * k_t[..., None]
  return (2 / rc * lengths)[lead] * elementary.asinh(sine)


def fully_connected(
  x: Float[Array, "*batch dim"],
  z: Float[Array, "dim out"],
  r: Float[Array, " out"] | None,
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Maps points to points of another dimension (Shimizu et al., 2021).

  The result's signed distance to the hyperplane through the root across axis j
  is the logit v_j of x: sinh(sqrt(c) v_j) / sqrt(c).

  Args:
    x: points.
    z: normals, one a column; with I / 2 and r = 0 the result is x.
    r: offsets; None for 0.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> x = jnp.array([3.0, 4.0])
    >>> fully_connected(x, jnp.eye(2) / 2, jnp.zeros(2), 1.0).round(4)
    Array([3., 4.], dtype=float32)
  """
  return at_logits(logits(x, z, r, curv), curv)


def at_logits(
  v: Float[Array, "*batch out"], curv: Scalar
) -> Float[Array, "*batch out"]:
  """Computes sinh(sqrt(c) v) / sqrt(c), the points with the logits v.

  Beyond sqrt(c) |v_j| = 40 a coordinate stays where it is, with zero gradient.

  Args:
    v: signed distances to the hyperplanes across the axes.
    curv: c, where the curvature is -c.

  Returns:
    Points.

  Examples:
    >>> at_logits(jnp.array([1.0, 0.0]), 1.0)  # sinh(1)
    Array([1.1752..., 0.       ], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  sinh, _ = elementary.sinh_and_cosh(jnp.clip(rc * v, -REACH, REACH))
  return sinh / rc


def busemann(
  x: Float[Array, "*batch dim"],
  directions: Float[Array, "dim out"],
  curv: Scalar,
) -> Float[Array, "*batch out"]:
  """Computes Busemann functions: distances to ideal points, less infinity.

  log(k t - k x.p) / k, k = sqrt(c), for the ideal point in direction p: 0 at
  the root, falling by 1 a unit of distance towards p (Ghadimi Atigh et al.,
  2021).

  Args:
    x: points.
    directions: unit vectors, one a column.
    curv: c, where the curvature is -c.

  Returns:
    Signed distances to the horospheres through the root.

  Examples:
    >>> x = jnp.array([jnp.sinh(3.0), 0.0])
    >>> busemann(x, jnp.array([[1.0, -1.0], [0.0, 0.0]]), 1.0).round(4)
    Array([-3.,  3.], dtype=float32)
  """
  rc = jnp.sqrt(curv)
  p = directions.T
  along = jnp.sum(x[..., None, :] * _as_rows(p, x.ndim), axis=-1)
  across = x[..., None, :] - along[..., None] * _as_rows(p, x.ndim)
  k_t = (rc * stable.time(x, curv))[..., None]
  ahead = along > 0
  towards = rc * jnp.where(ahead, along, 0)
  product = 1 + curv * numerics.dot(across, across)  # (kt - kx.p)(kt + kx.p)
  gap = jnp.where(ahead, product / (k_t + towards), k_t - rc * along)
  return jnp.log(gap) / rc


def _as_rows(p, ndim):
  return p.reshape((1,) * (ndim - 1) + p.shape)
