"""Euclidean space with cones: the baseline of hyperbolic ones (EuCLIP).

Chou and Alam, Embedding Geometries of Contrastive Language-Image Pre-Training,
  ECCV 2024 workshops.
Ganea et al., Hyperbolic Entailment Cones for Learning Hierarchical Embeddings,
  ICML 2018.
"""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.cones import MIN_RADIUS
from hyperclip_jax.geometry.numerics import Array, Scalar
from hyperclip_jax.geometry.space import Paired, Rows, average, by_rows, wide

NEARNESS = ("squared", "distance")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Euclid:
  """Vectors, compared by their distance.

  Attributes:
    nearness: "squared", minus the squared distance, or "distance", minus it.
    min_radius: K, the scale of the cones; the half aperture is asin(K / |x|).

  Examples:
    >>> x = jnp.array([[1.0, 0.0], [1.0, 2.0]])
    >>> Euclid().pairs(x[:1], x[1:]).tolist()
    [-4.0]
    >>> Euclid("distance").pairs(x[:1], x[1:]).tolist()
    [-2.0]
  """

  nearness: str = dataclasses.field(
    default="squared", metadata={"static": True}
  )
  min_radius: float = dataclasses.field(
    default=MIN_RADIUS, metadata={"static": True}
  )
  cones: ClassVar[bool] = True
  rooted: ClassVar[bool] = True
  distance_name: ClassVar[str] = "Euclidean distance"

  @property
  def by_products(self) -> bool:
    """True: a squared distance is an inner product of longer rows."""
    return True

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Scales features by one over the square root of their width."""
    tangents = wide(tangents)
    return tangents / tangents.shape[1] ** 0.5

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages features row by row, and scales them."""
    return self.lift(average(map(wide, tangents)))

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Minus the distance or its square, row by row."""
    if self.nearness == "distance":
      return -self.distance(x, y)
    return by_rows(lambda x, y: -numerics.dot(x - y, x - y), x, y)

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Minus the distances or their squares, of all pairs."""
    squares = -self.similarity(x, y)
    if self.nearness == "distance":
      return -numerics.sqrt(squares)
    return -numerics.namespace(squares).maximum(squares, 0)

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Minus the squared distances of all pairs, up to rounding."""
    x, y = wide(x), wide(y)
    squares = numerics.dot(x, x)[:, None] + numerics.dot(y, y)[None]
    return 2 * numerics.products(x, y) - squares

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """Rows (2 y, -|y|^2, 1), whose products with queries are -|x - y|^2."""
    x = wide(x)
    xp, squares = numerics.namespace(x), numerics.dot(x, x)[:, None]
    return xp.concatenate([2 * x, -squares, xp.ones_like(squares)], axis=1)

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """Rows (x, 1, -|x|^2)."""
    x = wide(x)
    xp, squares = numerics.namespace(x), numerics.dot(x, x)[:, None]
    return xp.concatenate([x, xp.ones_like(squares), -squares], axis=1)

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Distance, row by row."""
    return by_rows(lambda x, y: numerics.norm(x - y), x, y)

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """The origin, whatever the rows."""
    rows = wide(rows)
    return numerics.namespace(rows).zeros_like(rows, shape=rows.shape[1:])

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """Points of the line from x to y."""
    x, y, t = wide(x)[None], wide(y)[None], wide(t)[:, None]
    return (1 - t) * x + t * y

  def half_aperture(self, x: Rows) -> Float[Array, " n"]:
    """asin(K / |x|) in radians; pi / 2 where |x| <= K."""

    def aperture(x):
      outside = numerics.sqrt(numerics.dot(x, x) - self.min_radius**2)
      xp = numerics.namespace(outside)
      return xp.arctan2(xp.full_like(outside, self.min_radius), outside)

    return by_rows(aperture, x)

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Angle at x between the ray from the origin and the way to y.

    It is 0 at x = y and pi / 2 at x = 0, with zero gradient there and where y
    lies on the line through the origin and x.
    """

    def angle(x, y):
      xp, r = numerics.namespace(x, y), numerics.norm(x)
      n = xp.where(r > 0, 1 / xp.where(r > 0, r, 1), 0)[..., None] * x
      along = numerics.dot(n, y - x)
      across = numerics.norm(y - x - along[..., None] * n)
      return numerics.atan2(across, along)

    return by_rows(angle, x, y)

  def cone_margin(
    self, general: Paired, specific: Paired, aperture_scale: Scalar = 1.0
  ) -> Float[Array, " n"]:
    """Exterior angle less the scaled half aperture; at most 0 in the cone."""
    angle = self.exterior_angle(general, specific)
    return angle - aperture_scale * self.half_aperture(general)

  def entailment_score(
    self, general: Paired, specific: Paired
  ) -> Float[Array, " n"]:
    """`cone_margin`, in radians."""
    return self.cone_margin(general, specific)
