"""The unit sphere, the space of CLIP."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Array, Scalar
from hyperclip_jax.geometry.space import Paired, Rows, average, by_rows, wide


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sphere:
  """Unit vectors, compared by their cosine: the space of CLIP.

  Examples:
    >>> x = Sphere().lift(jnp.array([[3.0, 4.0]]))
    >>> [round(float(v), 4) for v in x[0]]
    [0.6, 0.8]
    >>> round(float(Sphere().pairwise(x, x)[0, 0]), 3)
    1.0
  """

  cones: ClassVar[bool] = False
  rooted: ClassVar[bool] = False
  distance_name: ClassVar[str] = "cosine distance"

  @property
  def by_products(self) -> bool:
    """True: cosines are inner products."""
    return True

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Scales features to unit length; a zero row stays zero."""
    return by_rows(numerics.unit, tangents)

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages unit vectors row by row, and scales to unit length (CLIP)."""
    return self.lift(average(self.lift(rows) for rows in tangents))

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Cosines, row by row."""
    return by_rows(numerics.dot, x, y)

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Cosines of all pairs."""
    return numerics.products(wide(x), wide(y))

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Cosines of all pairs."""
    return self.pairwise(x, y)

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """The rows themselves."""
    return x

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """The rows themselves."""
    return x

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """1 - cosine, row by row."""
    return 1 - self.pairs(x, y)

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """The mean direction of a set, which stands for a root (MERU, 4.3)."""
    return self.lift(wide(rows).sum(axis=0, keepdims=True))[0]

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """Points of the great circle's chord from x to y, brought to the sphere."""
    x, y, t = wide(x)[None], wide(y)[None], wide(t)[:, None]
    return self.lift((1 - t) * x + t * y)

  def half_aperture(self, x: Rows) -> Float[Array, " n"]:
    """Raises TypeError."""
    raise TypeError("unit vectors have no entailment cones: see Space.cones")

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Raises TypeError."""
    return self.half_aperture(x)

  def cone_margin(
    self, general: Paired, specific: Paired, aperture_scale: Scalar = 1.0
  ) -> Float[Array, " n"]:
    """Raises TypeError."""
    return self.half_aperture(general)

  def entailment_score(
    self, general: Paired, specific: Paired
  ) -> Float[Array, " n"]:
    """Minus the cosine, row by row; symmetric, so it knows no order."""
    return -self.pairs(general, specific)
