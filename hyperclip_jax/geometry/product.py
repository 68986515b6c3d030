"""A product of hyperboloids, each with a curvature of its own (PHyCLIP).

A row is cut into as many equal parts as there are curvatures; each is a point
of its hyperboloid.

  Yoshikawa and Matsubara, PHyCLIP: l1-Product of Hyperbolic Factors Unifies
    Hierarchy and Compositionality in Vision-Language Representation Learning,
    ICLR 2026.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz, numerics
from hyperclip_jax.geometry.cones import MIN_RADIUS
from hyperclip_jax.geometry.hyperboloid import Lorentz
from hyperclip_jax.geometry.numerics import Array, Scalar
from hyperclip_jax.geometry.space import Paired, Rows, average, by_rows, wide

NORMS = ("l1", "l2")
SCORES = ("distance", "inner_sum")

# Distances of all pairs by factor that are held at once: 16 MiB in float32.
HELD = 2**22


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Product:
  """Hyperboloids of curvatures -curv, side by side.

  Attributes:
    curv: (factors,) positive.
    norm: how a distance comes of those in the factors: "l1" is their mean, "l2"
      their root mean square.
    score: what `similarity` and search rank by: "distance", or "inner_sum", the
      sum of the Lorentz inner products, which is cheaper, and does not order as
      distances do.
    min_radius: K, the scale of the cones; see `lorentz.half_aperture`.

  Examples:
    >>> space = Product(jnp.array([1.0, 0.5]))
    >>> x = space.lift(jnp.array([[1.0, 0.0, 0.0, 0.0], [2.0, 0.0, 3.0, 0.0]]))
    >>> space.distance(x[:1], x[1:]).round(4)  # (1 + 3) / 2
    Array([2.], dtype=float32)
  """

  curv: Any
  norm: str = dataclasses.field(default="l1", metadata={"static": True})
  score: str = dataclasses.field(default="distance", metadata={"static": True})
  min_radius: float = dataclasses.field(
    default=MIN_RADIUS, metadata={"static": True}
  )
  cones: ClassVar[bool] = True
  rooted: ClassVar[bool] = True
  distance_name: ClassVar[str] = "distance"

  def __repr__(self) -> str:
    return f"Product({len(self.curv)} factors, {self.norm}, by {self.score})"

  @property
  def by_products(self) -> bool:
    """Whether products of `keys` and `queries` are the scores."""
    return self.score == "inner_sum"

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Maps tangent vectors at the root to points, factor by factor."""
    return by_rows(
      lambda v: self._join(self._each(lorentz.expmap0, v)), tangents
    )

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages tangent vectors row by row, and lifts them."""
    return self.lift(average(map(wide, tangents)))

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Minus the product distance, row by row."""
    return -self.distance(x, y)

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Minus the product distances of all pairs; some factors at a time."""
    y = wide(y)
    return by_rows(lambda x: -self._distances(x, y), x, width=len(y))

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Scores of all pairs, as `score` says."""
    if not self.by_products:
      return self.pairwise(x, y)
    return numerics.products(self.queries(x), self.keys(y))

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """Points and their times, factor by factor; see `Lorentz.keys`."""
    return self._join(self._each(lambda x, c: Lorentz(c).keys(x), wide(x)))

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """Points and minus their times, factor by factor."""
    return self._join(self._each(lambda x, c: Lorentz(c).queries(x), wide(x)))

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Product distance, row by row: the mean over the factors, or the l2."""
    return by_rows(
      lambda x, y: self._whole(
        self._power(self._each(lorentz.dist, x, y)).sum(axis=0)
      ),
      x,
      y,
    )

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """The origin of all factors, whatever the rows."""
    rows = wide(rows)
    return numerics.namespace(rows).zeros_like(rows, shape=rows.shape[1:])

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """Points of the geodesic from x to y, factor by factor."""
    t = wide(t)
    x, y = wide(x)[None], wide(y)[None]
    return self._join(
      self._each(lambda x, y, c: lorentz.geodesic(x, y, t, c), x, y)
    )

  def half_aperture(self, x: Rows) -> Float[Array, "n factors"]:
    """Half the opening of each row's cones in radians, one for each factor."""

    def aperture(x, curv):
      return lorentz.half_aperture(x, curv, self.min_radius)

    return by_rows(lambda x: self._each(aperture, x).T, x)

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, "n factors"]:
    """Exterior angles in radians, one for each factor."""
    return by_rows(
      lambda x, y: self._each(lorentz.exterior_angle, x, y).T, x, y
    )

  def cone_margin(
    self, general: Paired, specific: Paired, aperture_scale: Scalar = 1.0
  ) -> Float[Array, " n"]:
    """Mean over the factors of exterior angle less scaled half aperture."""
    angle = self.exterior_angle(general, specific)
    margin = angle - aperture_scale * self.half_aperture(general)
    return margin.mean(axis=1)

  def entailment_score(
    self, general: Paired, specific: Paired
  ) -> Float[Array, " n"]:
    """`cone_margin`, in radians."""
    return self.cone_margin(general, specific)

  def _parts(self, x: Array) -> Array:
    """(n, factors * size) as (factors, n, size)."""
    factors = len(self.curv)
    size, rest = divmod(x.shape[1], factors)
    if rest:
      raise ValueError(
        f"rows of {x.shape[1]} numbers do not split into {factors} factors"
      )
    return x.reshape(x.shape[0], factors, size).swapaxes(0, 1)

  def _join(self, parts: Array) -> Array:
    """Undoes `_parts`."""
    rows = parts.swapaxes(0, 1)
    return rows.reshape(rows.shape[0], parts.shape[0] * parts.shape[2])

  def _each(self, function: Callable[..., Array], *rows: Array) -> Array:
    """function(*parts, curv) of each factor, (factors, ...)."""
    parts = [self._parts(x) for x in rows]
    if numerics.namespace(*rows) is np:
      found = [
        function(*some) for some in zip(*parts, self._curvs, strict=True)
      ]
      return np.stack(found)
    return jax.vmap(function)(*parts, jnp.asarray(self.curv, rows[0].dtype))

  @property
  def _curvs(self) -> list[float]:
    return np.asarray(self.curv, np.float64).tolist()

  def _power(self, distance: Array) -> Array:
    return distance if self.norm == "l1" else distance**2

  def _whole(self, total: Array) -> Array:
    """The product distance from the sum of the factors' powers."""
    mean = total / len(self.curv)
    return mean if self.norm == "l1" else numerics.sqrt(mean)

  def _distances(self, x: Array, y: Array) -> Array:
    """Product distances of all pairs."""
    parts = self._parts(x), self._parts(y)
    if numerics.namespace(x, y) is np:
      total = 0.0
      for x_part, y_part, curv in zip(*parts, self._curvs, strict=True):
        total = total + self._power(lorentz.pairwise_dist(x_part, y_part, curv))
      return self._whole(total)
    factors = len(self.curv)
    groups = factors // max(
      g
      for g in range(1, factors + 1)
      if factors % g == 0 and (g == 1 or g * len(x) * len(y) <= HELD)
    )
    curv = jnp.asarray(self.curv, x.dtype)

    def group(x, y, curv):
      each = jax.vmap(lorentz.pairwise_dist)(x, y, curv)
      return self._power(each).sum(axis=0)

    if groups == 1:
      return self._whole(group(*parts, curv))

    # The backward pass computes a group again: kept, they would need as many
    # times the memory of the result.
    @jax.checkpoint
    def add(total, some):
      return total + group(*some), None

    split = [v.reshape(groups, -1, *v.shape[1:]) for v in (*parts, curv)]
    begin = jnp.zeros((len(x), len(y)), x.dtype)
    return self._whole(jax.lax.scan(add, begin, tuple(split))[0])
