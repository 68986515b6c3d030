"""The space of two projectors: unit vectors z and h, side by side."""

import dataclasses
import math
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Array
from hyperclip_jax.geometry.space import Rows, by_rows
from hyperclip_jax.geometry.sphere import Sphere


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Ensemble(Sphere):
  """Unit vectors whose inner products are w cos(z) + (1 - w) cos(h).

  A row is [sqrt(w) z | sqrt(1 - w) h] with z and h of unit length. The class of
  several prompts is the mean direction of each half by itself.

  Attributes:
    weight: w, of the first half.

  Examples:
    >>> space = Ensemble(0.75)
    >>> x = space.lift(jnp.array([[2.0, 0.0, 5.0, 0.0]]))
    >>> y = space.lift(jnp.array([[1.0, 0.0, 0.0, 1.0]]))
    >>> round(float(space.pairs(x, y)[0]), 3)
    0.75
  """

  weight: float = dataclasses.field(default=0.5, metadata={"static": True})
  distance_name: ClassVar[str] = "cosine distance of two projectors"

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Scales each half to unit length, and weighs them."""
    return by_rows(self._lifted, tangents)

  def _lifted(self, tangents: Rows) -> Float[Array, "n dim"]:
    half = tangents.shape[1] // 2
    z, h = tangents[:, :half], tangents[:, half:]
    weighted = [
      math.sqrt(self.weight) * numerics.unit(z),
      math.sqrt(1 - self.weight) * numerics.unit(h),
    ]
    return numerics.namespace(tangents).concatenate(weighted, axis=1)


def scores(
  images: Float[np.ndarray, "n dim"],
  classes: Float[np.ndarray, "classes dim"],
  weights: tuple[float, ...] = tuple(w / 10 for w in range(11)),
) -> dict[float, Float[np.ndarray, "n classes"]]:
  """Scores images against classes by z, by h, and by both at several weights.

  Args:
    images: rows [z | h] of images, of any weight but 0 and 1.
    classes: rows [z | h] of classes, likewise.
    weights: w of each ensemble; 1 is z alone, 0 is h.

  Returns:
    Scores by weight, higher for a likelier class.
  """
  half = images.shape[1] // 2
  z, h = (
    numerics.unit(np.asarray(images, np.float64)[:, part])
    @ numerics.unit(np.asarray(classes, np.float64)[:, part]).T
    for part in (slice(half), slice(half, None))
  )
  return {w: w * z + (1 - w) * h for w in weights}
