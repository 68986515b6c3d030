"""The interface of a space of embeddings.

A point is a row of numbers; its space defines what the columns mean, which
points are near, and which lie in the cone of another. A space is a JAX pytree
whose leaves are its parameters, so losses differentiate through it. Each method
takes either JAX arrays, traced or not, and computes in their precision, or
NumPy arrays of any float type, and computes in float64 on the host without
compiling anything: inference and evaluation have any number of rows, and XLA
would compile a program for each. Both run the same formulas.

Inner products of far points are differences of huge numbers. In float32 they
rank neighbours in a wrong order from a radius of about 7 on; in float64 they
rank correctly within the radii that float32 embeddings can have.
"""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.numerics import Array, Scalar

S = TypeVar("S")
Rows = Float[Array, "n dim"]
Paired = Float[Array, "#n dim"]  # row by row; one row serves all

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
    by_products: whether the inner products of `keys` and `queries` are scores
      as of `similarity`; if not, search scores all pairs.
  """

  cones: ClassVar[bool]
  rooted: ClassVar[bool]
  distance_name: ClassVar[str]

  @property
  def by_products(self) -> bool: ...

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

  def half_aperture(self, x: Rows) -> Float[Array, "n *factors"]:
    """Computes half the opening of the cone of each point in radians.

    A product of spaces has one for each factor.
    """
    ...

  def exterior_angle(self, x: Paired, y: Paired) -> Float[Array, "n *factors"]:
    """Computes angles at x between the ray from the root and the way to y.

    Args:
      x: n cone apexes, or one.
      y: n points, or one.

    Returns:
      Angles in radians; of a product of spaces, one for each factor.
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
