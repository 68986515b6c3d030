"""The hyperboloid as a space; `lorentz` has its formulas."""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz, numerics, poincare
from hyperclip_jax.geometry.cones import MIN_RADIUS
from hyperclip_jax.geometry.numerics import Array, Scalar
from hyperclip_jax.geometry.space import Paired, Rows, average, by_rows, wide


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lorentz:
  """The hyperboloid of curvature -curv; points by their space components.

  Attributes:
    curv: positive; a Python float on the host, or a differentiable 0-d JAX
      array in training.
    min_radius: K, the scale of the cones; see `lorentz.half_aperture`.

  Examples:
    >>> space = Lorentz(1.0)
    >>> x = space.lift(jnp.array([[1.0, 0.0], [2.0, 0.0]]))
    >>> space.pairs(x[:1], x[1:]).round(4)  # minus the distance
    Array([-1.], dtype=float32)
    >>> bool(space.cone_margin(x[:1], x[1:])[0] <= 0)  # the first entails it
    True
  """

  curv: Any  # a Scalar, or what JAX puts in the place of a leaf
  min_radius: float = dataclasses.field(
    default=MIN_RADIUS, metadata={"static": True}
  )
  cones: ClassVar[bool] = True
  rooted: ClassVar[bool] = True
  distance_name: ClassVar[str] = "distance"

  @property
  def by_products(self) -> bool:
    """True: Lorentz inner products are, of points and their times."""
    return True

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Maps tangent vectors at the root to points, by the exponential map."""
    return by_rows(lambda v: lorentz.expmap0(v, self.curv), tangents)

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages tangent vectors row by row, and lifts them (MERU, 4.1)."""
    return self.lift(average(map(wide, tangents)))

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Minus the geodesic distance, row by row."""
    return -self.distance(x, y)

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Minus the geodesic distances of all pairs."""
    y = wide(y)
    return by_rows(
      lambda x: -lorentz.pairwise_dist(x, y, self.curv), x, width=len(y)
    )

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Lorentz inner products of all pairs, which fall as distances grow."""
    return lorentz.pairwise_inner(wide(x), wide(y), self.curv)

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """Points and their times.

    The Lorentz inner product of x and y is the inner product of (x, x0) and
    (y, -y0), x0 and y0 their times, and falls as their distance grows.
    """
    return self._with_time(x, 1)

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """Points and minus their times."""
    return self._with_time(x, -1)

  def _with_time(self, x, sign):
    x = wide(x)
    time = sign * lorentz.time(x, self.curv)[:, None]
    return numerics.namespace(time).concatenate([x, time], axis=1)

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Geodesic distance, row by row."""
    return by_rows(lambda x, y: lorentz.dist(x, y, self.curv), x, y)

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """The hyperboloid's origin, whatever the rows."""
    rows = wide(rows)
    return numerics.namespace(rows).zeros_like(rows, shape=rows.shape[1:])

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """Points of the geodesic at the fractions t of the way from x to y."""
    x, y = wide(x)[None], wide(y)[None]
    return lorentz.geodesic(x, y, wide(t), self.curv)

  def half_aperture(self, x: Rows) -> Float[Array, " n"]:
    """Half the opening of each row's entailment cone in radians."""
    k = self.min_radius
    return by_rows(lambda x: lorentz.half_aperture(x, self.curv, k), x)

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Angle at x between the ray from the root and the geodesic to y."""
    return by_rows(lambda x, y: lorentz.exterior_angle(x, y, self.curv), x, y)

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

  def disk_radius(self, distance: Any) -> Any:
    """Where points this far from the root lie in the unit Poincare disk."""
    return poincare.disk_radius(distance, self.curv)

  def disk_distance(self, radius: Any) -> Any:
    """Inverse of `disk_radius`."""
    return poincare.disk_distance(radius, self.curv)
