"""The spaces that trained models embed in, computed on the host in float64.

Geometry of use, not of training: rows come in any number, and XLA would compile
a program for each, so this is NumPy. It takes rows of any float type and
returns float64. Inner products of far points are differences of huge numbers:
in float32 they put neighbours in a wrong order from a radius of about 7 on, in
float64 they do not within the radii that float32 embeddings can have.

The formulas are those of `geometry.lorentz`, which says where they come from;
here are those that inference and evaluation share, for rows that are given.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from jaxtyping import Float, Float64

Rows = Float[np.ndarray, "n dim"]
Paired = Float[np.ndarray, "#n dim"]  # row by row; one row serves all
MIN_RADIUS = 0.1  # of cones, as in training
_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class Sphere:
  """Unit vectors, compared by their cosine: the space of CLIP."""

  curv: ClassVar[float] = 0.0

  def lift(self, tangents: Rows) -> Float64[np.ndarray, "n dim"]:
    """Features scaled to unit length; a zero row stays zero."""
    features = np.asarray(tangents, np.float64)
    return features / np.maximum(_norm(features), _TINY)[:, None]

  def similarity(
    self, x: Rows, y: Float[np.ndarray, "m dim"]
  ) -> Float64[np.ndarray, "n m"]:
    """Cosines of all pairs."""
    return np.asarray(x, np.float64) @ np.asarray(y, np.float64).T

  def nearness(
    self, x: Rows, y: Float[np.ndarray, "m dim"]
  ) -> Float64[np.ndarray, "n m"]:
    """What the trained scale multiplies in the softmax: cosines."""
    return self.similarity(x, y)

  def distance(self, x: Paired, y: Paired) -> Float64[np.ndarray, " n"]:
    """1 - cosine, row by row."""
    return 1 - np.sum(np.asarray(x, np.float64) * y, axis=1)

  def cone_margin(
    self, general: Paired, specific: Paired
  ) -> Float64[np.ndarray, " n"]:
    """Minus the cosine, row by row, in place of a cone's margin."""
    return self.distance(specific, general) - 1

  def path(
    self,
    x: Float[np.ndarray, " dim"],
    y: Float[np.ndarray, " dim"],
    t: Float[np.ndarray, " steps"],
  ) -> Float64[np.ndarray, "steps dim"]:
    """Points of the great circle's chord from x to y, brought to the sphere."""
    t = np.asarray(t, np.float64)[:, None]
    return self.lift((1 - t) * x[None] + t * y[None])

  def root(self, rows: Rows) -> Float64[np.ndarray, " dim"]:
    """The mean direction of a set, which stands for a root (MERU, 4.3)."""
    total = np.sum(rows, axis=0, dtype=np.float64)
    return self.lift(np.reshape(total, (1, -1)))[0]

  def keys(self, x: Rows) -> Rows:
    """Rows whose inner products with `queries` are similarities."""
    return x

  def queries(self, x: Rows) -> Rows:
    """See `keys`."""
    return x


@dataclasses.dataclass(frozen=True)
class Lorentz:
  """The hyperboloid of curvature -curv; points by their space components.

  Attributes:
    curv: positive.
  """

  curv: float

  def lift(self, tangents: Rows) -> Float64[np.ndarray, "n dim"]:
    """Tangent vectors at the root to points, by the exponential map."""
    v = np.asarray(tangents, np.float64)
    return _sinhc(np.sqrt(self.curv) * _norm(v))[:, None] * v

  def similarity(
    self, x: Rows, y: Float[np.ndarray, "m dim"]
  ) -> Float64[np.ndarray, "n m"]:
    """Lorentz inner products of all pairs."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    return x @ y.T - self._time(x)[:, None] * self._time(y)[None]

  def nearness(
    self, x: Rows, y: Float[np.ndarray, "m dim"]
  ) -> Float64[np.ndarray, "n m"]:
    """What the trained scale multiplies in the softmax: minus the distance."""
    excess = -self.curv * self.similarity(x, y) - 1
    return -self._of_excess(excess)

  def distance(self, x: Paired, y: Paired) -> Float64[np.ndarray, " n"]:
    """Geodesic distance, row by row."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    # |x - y|^2 less the squared difference of times is 2 / c (cosh - 1), and
    # exact where the points are close.
    times = self._time(x) + self._time(y)
    later = np.sum((x - y) * (x + y), axis=1) / times
    return self._of_excess(
      self.curv / 2 * (np.sum(np.square(x - y), axis=1) - later**2)
    )

  def half_aperture(self, x: Rows) -> Float64[np.ndarray, " n"]:
    """Half the opening of each row's entailment cone in radians."""
    squares = np.sum(np.square(x, dtype=np.float64), axis=1)
    outside = self.curv * squares - 4 * MIN_RADIUS**2
    return np.arctan2(2 * MIN_RADIUS, np.sqrt(np.maximum(outside, 0)))

  def cone_margin(
    self, general: Paired, specific: Paired
  ) -> Float64[np.ndarray, " n"]:
    """Exterior angle less half aperture, row by row; at most 0 in the cone."""
    x, y = np.asarray(general, np.float64), np.asarray(specific, np.float64)
    r = _norm(x)
    n = x / np.where(r > 0, r, 1)[:, None]
    ahead = np.sum(n * (y - x), axis=1)  # exactly 0 at x = y
    across = _norm(y - x - ahead[:, None] * n)
    along = self._time(x) * (r + ahead) - r * self._time(y)
    same = (x == y).all(axis=1)
    along = np.where(same, 1, np.sqrt(self.curv) * along)
    # At the root every direction is outward, and none is: a right angle.
    angle = np.where((r > 0) | same, np.arctan2(across, along), np.pi / 2)
    return angle - self.half_aperture(x)

  def path(
    self,
    x: Float[np.ndarray, " dim"],
    y: Float[np.ndarray, " dim"],
    t: Float[np.ndarray, " steps"],
  ) -> Float64[np.ndarray, "steps dim"]:
    """Points of the geodesic at the fractions t of the way from x to y."""
    t = np.asarray(t, np.float64)
    angle = np.sqrt(self.curv) * self.distance(x[None], y[None])
    whole = _sinhc(angle)
    from_x = (1 - t) * _sinhc((1 - t) * angle) / whole
    from_y = t * _sinhc(t * angle) / whole
    return from_x[:, None] * x[None] + from_y[:, None] * y[None]

  def root(self, rows: Rows) -> Float64[np.ndarray, " dim"]:
    """The hyperboloid's origin, whatever the rows."""
    return np.zeros(rows.shape[1])

  def keys(self, x: Rows) -> Float64[np.ndarray, "n keys"]:
    """Rows whose inner products with `queries` are similarities.

    The Lorentz inner product of x and y is the inner product of (x, x0) and
    (y, -y0), x0 and y0 their times, and falls as their distance grows.
    """
    return np.concatenate([x, self._time(x)[:, None]], axis=1)

  def queries(self, x: Rows) -> Float64[np.ndarray, "n keys"]:
    """See `keys`."""
    return np.concatenate([x, -self._time(x)[:, None]], axis=1)

  def _time(self, x):
    squares = np.sum(np.square(x, dtype=np.float64), axis=1)
    return np.sqrt(1 / self.curv + squares)

  def _of_excess(self, excess):
    """Distances from cosh(sqrt(c) d) - 1, which rounding may put below 0."""
    half = np.sqrt(np.maximum(excess, 0) / 2)
    return 2 * np.arcsinh(half) / np.sqrt(self.curv)


Space = Sphere | Lorentz


def of(curv: float) -> Space:
  """The space of a curvature: -curv; 0 for the sphere of CLIP."""
  return Lorentz(curv) if curv else Sphere()


def _norm(x):
  return np.sqrt(np.sum(np.square(x), axis=1))


def _sinhc(r):
  """sinh(r) / r; 1 at 0."""
  small = r < 1e-4
  safe = np.where(small, 1, r)
  return np.where(small, 1 + r**2 / 6, np.sinh(safe) / safe)
