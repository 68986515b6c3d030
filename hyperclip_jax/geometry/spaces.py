"""Spaces of embeddings, as values.

A point is a row of numbers; its space defines what the columns mean, which
points are near, and which lie in the cone of another. A space is a JAX pytree
whose leaves are its parameters, so losses differentiate through it. Each method
takes either JAX arrays, traced or not, and computes in their precision, or
NumPy arrays of any float type, and computes in float64 on the host without
compiling anything: inference and evaluation have any number of rows, and XLA
would compile a program for each. Both run the same formulas, those of
`lorentz`.

Inner products of far points are differences of huge numbers. In float32 they
rank neighbours in a wrong order from a radius of about 7 on; in float64 they
rank correctly within the radii that float32 embeddings can have.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from hyperclip_jax.files import shown
from hyperclip_jax.geometry import lorentz, numerics, poincare
from hyperclip_jax.geometry.numerics import Array, Scalar

S = TypeVar("S")
Rows = Float[Array, "n dim"]
Paired = Float[Array, "#n dim"]  # row by row; one row serves all

# Curvatures that a file may ask for. Training keeps within 0.1 and 10.
CURVATURES = (1e-6, 1e6)

BLOCK = 2**16  # float64 numbers that a processor's cache holds several times


@runtime_checkable
class Space(Protocol):
  """Interface of a space to losses, search, evaluation and reports.

  Attributes:
    cones: whether points have entailment cones; if not, `half_aperture`,
      `exterior_angle` and `cone_margin` raise TypeError.
    rooted: whether it has a most general point of its own: where not, `root`
      goes by the rows it is given.
    distance_name: what `distance` is.
  """

  cones: ClassVar[bool]
  rooted: ClassVar[bool]
  distance_name: ClassVar[str]

  def lift(self, tangents: Rows) -> Float[Array, "n dim"]:
    """Maps tangent vectors at the root, or raw features, to points."""
    ...

  def mean(self, tangents: Iterable[Rows]) -> Float[Array, "n dim"]:
    """Averages sets of tangent vectors row by row, and lifts the means."""
    ...

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Computes the nearness of pairs, as exactly as possible.

    Args:
      x: n points, or one for all of `y`.
      y: n points, or one for all of `x`.

    Returns:
      Nearness; higher is nearer.
    """
    ...

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Computes the nearness of all pairs, by matrix products.

    Args:
      x: n points.
      y: m points.

    Returns:
      Nearness; higher is nearer.
    """
    ...

  def logits(
    self, x: Rows, y: Float[Array, "m dim"], scale: Scalar
  ) -> Float[Array, "n m"]:
    """Computes the logits of all pairs: nearness times the trained scale.

    Args:
      x: n points.
      y: m points.
      scale: inverse temperature.

    Returns:
      Logits of a softmax over `y`.
    """
    ...

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """Computes the cheapest scores of all pairs that rank as nearness does.

    Args:
      x: n points.
      y: m points.

    Returns:
      Scores; higher is nearer.
    """
    ...

  def keys(self, x: Rows) -> Float[Array, "n keys"]:
    """Maps points to rows whose inner products with `queries` are scores."""
    ...

  def queries(self, x: Rows) -> Float[Array, "n keys"]:
    """Maps points to rows whose inner products with `keys` are scores."""
    ...

  def distance(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Computes the distances of pairs.

    Args:
      x: n points, or one for all of `y`.
      y: n points, or one for all of `x`.

    Returns:
      Distances, at least 0.
    """
    ...

  def root(self, rows: Rows) -> Float[Array, " dim"]:
    """Returns the most general point, or a substitute derived from rows."""
    ...

  def path(
    self,
    x: Float[Array, " dim"],
    y: Float[Array, " dim"],
    t: Float[Array, " steps"],
  ) -> Float[Array, "steps dim"]:
    """Computes points on the way from x to y.

    Args:
      x: point at t = 0.
      y: point at t = 1.
      t: fractions of the way.

    Returns:
      Points, one for each fraction.
    """
    ...

  def half_aperture(self, x: Rows) -> Float[Array, " n"]:
    """Computes half the opening of the cone of each point in radians."""
    ...

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Computes angles at x between the ray from the root and the way to y.

    Args:
      x: n cone apexes, or one.
      y: n points, or one.

    Returns:
      Angles in radians.
    """
    ...

  def cone_margin(
    self, general: Paired, specific: Paired, aperture_scale: Scalar = 1.0
  ) -> Float[Array, " n"]:
    """Computes how far specific points lie outside of general ones' cones.

    Args:
      general: n cone apexes, or one.
      specific: n points, or one.
      aperture_scale: factor of the half apertures.

    Returns:
      Exterior angles minus half apertures in radians; at most 0 in the cone.
    """
    ...

  def entailment_score(
    self, general: Paired, specific: Paired
  ) -> Float[Array, " n"]:
    """Scores whether general points entail specific ones.

    Args:
      general: n points, or one.
      specific: n points, or one.

    Returns:
      Scores, lower for a clearer yes: the cone margin, if there are cones.
    """
    ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sphere:
  """Unit vectors, compared by their cosine: the space of CLIP.

  Examples:
    >>> x = Sphere().lift(jnp.array([[3.0, 4.0]]))
    >>> [round(float(v), 4) for v in x[0]]
    [0.6, 0.8]
    >>> round(float(Sphere().logits(x, x, 10.0)[0, 0]), 3)
    10.0
  """

  cones: ClassVar[bool] = False
  rooted: ClassVar[bool] = False
  distance_name: ClassVar[str] = "cosine distance"

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

  def logits(
    self, x: Rows, y: Float[Array, "m dim"], scale: Scalar
  ) -> Float[Array, "n m"]:
    """Scaled cosines of all pairs."""
    return scale * self.pairwise(x, y)

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


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lorentz:
  """The hyperboloid of curvature -curv; points by their space components.

  Attributes:
    curv: positive; a Python float on the host, or a differentiable 0-d JAX
      array in training.

  Examples:
    >>> space = Lorentz(1.0)
    >>> x = space.lift(jnp.array([[1.0, 0.0], [2.0, 0.0]]))
    >>> space.pairs(x[:1], x[1:]).round(4)  # minus the distance
    Array([-1.], dtype=float32)
    >>> bool(space.cone_margin(x[:1], x[1:])[0] <= 0)  # the first entails it
    True
  """

  curv: Any  # a Scalar, or what JAX puts in the place of a leaf
  cones: ClassVar[bool] = True
  rooted: ClassVar[bool] = True
  distance_name: ClassVar[str] = "distance"

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

  def logits(
    self, x: Rows, y: Float[Array, "m dim"], scale: Scalar
  ) -> Float[Array, "n m"]:
    """Scaled minus distances of all pairs."""
    return scale * self.pairwise(x, y)

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
    return by_rows(lambda x: lorentz.half_aperture(x, self.curv), x)

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


def on_host(space: S) -> S:
  """A space whose parameters are Python floats, or float64 NumPy arrays."""

  def fetch(leaf: Any) -> Any:
    value = np.asarray(leaf, np.float64)
    return value if value.ndim else float(value)

  return jax.tree.map(fetch, space)


def alike(x: Space, y: Space) -> bool:
  """Checks whether two spaces are equal up to float32 rounding.

  Args:
    x: space.
    y: space.

  Returns:
    Whether they are of one kind, with parameters equal to 1e-5.
  """
  a, b = jax.tree.flatten(x), jax.tree.flatten(y)
  return a[1] == b[1] and all(
    np.allclose(p, q, rtol=1e-5, atol=0)
    for p, q in zip(a[0], b[0], strict=True)
  )


def to_json(space: Space) -> dict[str, Any]:
  """Describes a space for a file, such as {"name": "lorentz", "curv": 0.9}.

  Raises:
    TypeError: the space has no such description.

  Examples:
    >>> from_json(to_json(Lorentz(0.9)))
    Lorentz(curv=0.9)
  """
  if isinstance(space, Sphere):
    return {"name": "sphere"}
  if isinstance(space, Lorentz):
    return {"name": "lorentz", "curv": float(space.curv)}
  raise TypeError(f"{type(space).__name__} is no space that files know")


def from_json(value: Any) -> Space:
  """Makes the space that `to_json` described.

  Args:
    value: description from a file, of any type.

  Returns:
    Space whose parameters are Python floats.

  Raises:
    ValueError: the description is malformed or out of range.
  """
  match value:
    case {"name": "sphere"} if len(value) == 1:
      return Sphere()
    case {"name": "lorentz", "curv": curv} if len(value) == 2:
      return Lorentz(_curvature(curv))
  raise ValueError(
    f"the space is {shown(value)}: expected "
    '{"name": "lorentz", "curv": NUMBER} or {"name": "sphere"}'
  )


def _curvature(value: Any) -> float:
  least, most = CURVATURES
  number = isinstance(value, int | float) and not isinstance(value, bool)
  if not (number and least <= value <= most):
    raise ValueError(
      f"the space's curv is {shown(value)}: expected {least:g} to {most:g}"
    )
  return float(value)


def wide(x: Array) -> Array:
  """NumPy arrays in float64; JAX arrays as they are."""
  return x if isinstance(x, jax.Array) else np.asarray(x, np.float64)


def by_rows(
  function: Callable[..., Array], *arrays: Array, width: int = 0
) -> Array:
  """function(*arrays) of arrays with rows in front, of which one may serve all.

  NumPy arrays go through it in float64 and some rows at a time, so that what it
  makes on the way stays in the processor's cache: of many rows, most of the
  time would go to fetching memory.

  Args:
    function: computes row by row.
    arrays: its arguments.
    width: of its longest rows, where those of the arguments are shorter.
  """
  if numerics.namespace(*arrays) is not np:
    return function(*arrays)
  (count,) = np.broadcast_shapes(*((len(a),) for a in arrays))
  step = max(1, BLOCK // max(width, arrays[0].shape[1], 1))
  results = [
    function(*(wide(a if len(a) == 1 else a[i : i + step]) for a in arrays))
    for i in range(0, max(count, 1), step)
  ]
  return results[0] if len(results) == 1 else np.concatenate(results)


def average(sets: Iterable[Array]) -> Array:
  """Mean of the arrays, of which one is held at a time; NaN of none."""
  total, count = np.float64(np.nan), 0
  for count, rows in enumerate(sets, 1):
    total = rows if count == 1 else total + rows
  return total / count
