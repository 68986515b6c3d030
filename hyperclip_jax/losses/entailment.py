"""The entailment cone loss (Ganea et al., 2018; MERU, equation 7)."""

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
  """Mean of max(0, exterior angle - aperture_scale * half aperture).

  The angle has a kink where the two and the root lie on one line; its gradient
  there is 0 (`lorentz.exterior_angle`), and so is the hinge's at its corner.

  Args:
    space: where the points live; it has cones.
    general: cone apexes.
    specific: the points that belong inside the cones.
    aperture_scale: eta of HyCoCLIP's equation 6: below 1 a pair must lie
      deeper in the cone, above 1 it may lie outside it.
    where: rows to average over; all by default. No row gives zero. The others
      may hold anything, inf and NaN too.

  Returns:
    The loss in radians.

  Raises:
    TypeError: the space has no cones.
  """
  general, specific = (rows.blank(x, where) for x in (general, specific))
  margin = space.cone_margin(general, specific, aperture_scale)
  return rows.mean(jnp.maximum(margin, 0.0), where)
