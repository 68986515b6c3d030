"""The entailment cone loss (Ganea et al., 2018; MERU, Desai et al., 2023)."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import rows


def entailment(
  space: Space,
  general: Float[Array, "b dim"],
  specific: Float[Array, "b dim"],
  aperture_scale: Scalar,
  where: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
  """Computes the mean of max(0, exterior angle - eta * half aperture).

  The angle has a kink where both points and the root lie on one line. The
  gradient is 0 there (`lorentz.exterior_angle`), and at the corner of the
  hinge.

  Args:
    space: space of the points, with cones.
    general: cone apexes.
    specific: points that should lie inside the cones.
    aperture_scale: eta of HyCoCLIP: below 1 a pair must lie deeper in the cone,
      above 1 it may lie outside of it. MERU has 1.
    where: rows to average over; None for all. Other rows may be inf or NaN. The
      mean of no rows is 0.

  Returns:
    Loss in radians, a scalar.

  Raises:
    TypeError: the space has no cones.

  Examples:
    A point straight outward of another lies in its cone; the other way round it
    is as far outside as can be.

    >>> space = spaces.Lorentz(1.0)
    >>> near = space.lift(jnp.array([[0.5, 0.0]]))
    >>> far = space.lift(jnp.array([[2.0, 0.0]]))
    >>> float(entailment(space, near, far, 1.0))
    0.0
    >>> round(float(entailment(space, far, near, 1.0)), 3)
    3.086
  """
  general, specific = (rows.blank(x, where) for x in (general, specific))
  margin = space.cone_margin(general, specific, aperture_scale)
  return rows.mean(jnp.maximum(margin, 0.0), where)
