"""Entailment cone losses (Ganea et al., 2018; MERU, Desai et al., 2023)."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.losses import rows

# How far outside of its cone a point lies, in terms of the exterior angle.
KINDS = ("hard", "leaky", "angle")
LEAK = 0.1  # of the exterior angle (UNCHA)


class Relation(NamedTuple):
  """Pairs of points, of which one should lie in the cone of the other.

  Attributes:
    general: cone apexes (p, dim).
    specific: points that should lie inside the cones.
    aperture_scale: eta of HyCoCLIP, the factor of half apertures.
    where: pairs that count; None for all. Others may be inf or NaN.
  """

  general: Float[Array, "p dim"]
  specific: Float[Array, "p dim"]
  aperture_scale: Scalar
  where: Bool[Array, " p"] | None = None

  def mean(self, values: Float[Array, " p"]) -> Float[Array, ""]:
    """Averages numbers of the pairs over those that count."""
    return rows.mean(values, self.where)


def residuals(
  space: Space,
  general: Float[Array, "b dim"],
  specific: Float[Array, "b dim"],
  aperture_scale: Scalar | Float[Array, " b"],
  kind: str = "hard",
) -> Float[Array, " b"]:
  """Computes how far specific points are from lying in general ones' cones.

  With the exterior angle phi and the half aperture omega it is max(0, phi - eta
  omega) if "hard" (MERU), that and 0.1 phi if "leaky" (UNCHA), which keeps a
  gradient inside of the cone, or phi alone if "angle". A product of spaces has
  the mean over its factors (PHyCLIP).

  The angle has a kink where both points and the root lie on one line. The
  gradient is 0 there (`lorentz.exterior_angle`), and at the corner of the
  hinge.

  Args:
    space: space of the points, with cones.
    general: cone apexes.
    specific: points that should lie inside the cones.
    aperture_scale: eta of HyCoCLIP: below 1 a pair must lie deeper in the cone,
      above 1 it may lie outside of it. MERU has 1. One number, or one a pair.
    kind: "hard", "leaky" or "angle".

  Returns:
    Residuals in radians, at least 0.

  Raises:
    TypeError: the space has no cones.

  Examples:
    >>> space = spaces.Lorentz(1.0)
    >>> x = space.lift(jnp.array([[0.5, 0.0], [0.0, 0.5]]))
    >>> residuals(space, x, 2 * x, 1.0).tolist()  # straight outward
    [0.0, 0.0]
  """
  angle = space.exterior_angle(general, specific)
  if kind == "angle":
    found = angle
  else:
    eta = jnp.asarray(aperture_scale, angle.dtype)
    eta = eta.reshape(-1, *(1,) * (angle.ndim - 1))  # angles may be of factors
    margin = angle - eta * space.half_aperture(general)
    found = jnp.maximum(margin, 0.0)
    if kind == "leaky":
      found += LEAK * angle
  return found if found.ndim == 1 else jnp.mean(found, axis=1)


def of_relations(
  space: Space, relations: Mapping[str, Relation], kind: str = "hard"
) -> dict[str, Array]:
  """Computes the `residuals` of several relations at once.

  One call on all pairs compiles to a third of the kernels of four calls, which
  is what starting a run waits for.

  Args:
    space: space of the points, with cones.
    relations: relation by name. The shortest has one pair an example, and each
      a multiple of that, with the pairs of an example side by side.
    kind: "hard", "leaky" or "angle".

  Returns:
    Residuals (p,) by name; those of pairs that do not count are finite.

  Raises:
    TypeError: the space has no cones.

  Examples:
    >>> space = spaces.Lorentz(1.0)
    >>> x = space.lift(jnp.array([[0.5, 0.0], [0.0, 0.5]]))
    >>> found = of_relations(
    ...   space, {"out": Relation(x, 2 * x, 1.0), "in": Relation(2 * x, x, 1.0)}
    ... )
    >>> found["out"].tolist(), bool((found["in"] > 2).all())
    ([0.0, 0.0], True)
  """
  pairs = list(relations.values())
  examples = min(len(some.general) for some in pairs)

  def beside(values):  # Side by side, pairs stay on their example's device.
    columns = [v.reshape(examples, -1, *v.shape[1:]) for v in values]
    return jnp.concatenate(columns, axis=1)

  general = beside([rows.blank(some.general, some.where) for some in pairs])
  specific = beside([rows.blank(some.specific, some.where) for some in pairs])
  eta = beside(
    [jnp.full(len(some.general), some.aperture_scale) for some in pairs]
  )
  flat = [v.reshape(-1, *v.shape[2:]) for v in (general, specific, eta)]
  found = residuals(space, flat[0], flat[1], flat[2], kind).reshape(eta.shape)
  ends = np.cumsum([len(some.general) // examples for some in pairs])
  columns = jnp.split(found, ends[:-1], axis=1)
  return {
    name: column.reshape(-1)
    for name, column in zip(relations, columns, strict=True)
  }


def entailment(
  space: Space,
  general: Float[Array, "b dim"],
  specific: Float[Array, "b dim"],
  aperture_scale: Scalar,
  where: Bool[Array, " b"] | None = None,
  kind: str = "hard",
) -> Float[Array, ""]:
  """Computes the mean of `residuals`.

  Args:
    space: space of the points, with cones.
    general: cone apexes.
    specific: points that should lie inside the cones.
    aperture_scale: eta of HyCoCLIP, the factor of half apertures.
    where: rows to average over; None for all. Other rows may be inf or NaN. The
      mean of no rows is 0.
    kind: "hard", "leaky" or "angle".

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
  found = residuals(space, general, specific, aperture_scale, kind)
  return rows.mean(found, where)


def near_root(
  curv: Float[Array, "*factors"],
  apexes: Float[Array, "b dim"],
  least: Scalar,
  where: Bool[Array, " b"] | None = None,
) -> Float[Array, ""]:
  """Penalises apexes so near the root that their cones are half-spaces.

  It is the mean of max(0, least - sqrt(c) |x|)^2. A half aperture is pi / 2,
  without a gradient, up to sqrt(c) |x| = 2 K, as published 0.2
  (`lorentz.half_aperture`): there the entailment loss pulls apexes to the root
  and nothing pushes back. A penalty on norms against this is ARGENT's idea; its
  formula is not public, and this one is our own.

  Args:
    curv: c of a hyperboloid, or of each factor of a product, which has the mean
      over its factors.
    apexes: space components of cone apexes.
    least: sqrt(c) |x| from which on there is no penalty, a little above 2 K.
    where: rows to average over; None for all. Other rows may be inf or NaN. The
      mean of no rows is 0.

  Returns:
    Penalty, a scalar.

  Examples:
    >>> x = jnp.array([[0.1, 0.0], [0.0, 3.0]])
    >>> round(float(near_root(jnp.array(1.0), x, 0.3)), 4)  # (0.2**2 + 0) / 2
    0.02
  """
  apexes = rows.blank(apexes, where)
  factors = jnp.ravel(curv)
  parts = apexes.reshape(len(apexes), len(factors), -1)
  radii = jnp.sqrt(factors)[None] * numerics.norm(parts)
  short = jnp.maximum(least - radii, 0.0)
  return rows.mean(jnp.mean(short**2, axis=1), where)


def ramp(step: Int[Array, ""], steps: int) -> Float[Array, ""]:
  """Computes a factor that rises linearly from 0 to 1, then stays.

  Entailment that acts before texts are separated pulls them to the root.

  Args:
    step: number of updates so far.
    steps: length of the rise, at least 1.

  Returns:
    Factor, float32.

  Examples:
    >>> [float(ramp(jnp.array(step), 10)) for step in (0, 5, 10, 99)]
    [0.0, 0.5, 1.0, 1.0]
  """
  return jnp.minimum(jnp.asarray(step, jnp.float32) / steps, 1.0)
