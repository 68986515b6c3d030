"""Manifolds as an optimiser sees them: gradients, steps and transport.

A manifold labels a leaf of the parameters; its last axis holds the coordinates
of a point. A manifold is a JAX pytree whose leaf is its curvature, which may be
traced.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from hyperclip_jax.geometry import lorentz, poincare, stable
from hyperclip_jax.geometry.numerics import Array, dot

Points = Float[Array, "*batch dim"]


@runtime_checkable
class Manifold(Protocol):
  """What a Riemannian optimiser asks of a manifold."""

  def gradient(self, x: Points, g: Points) -> Points:
    """Computes the Riemannian gradient from the Euclidean one.

    Args:
      x: points.
      g: derivatives by the coordinates.

    Returns:
      Tangent vectors at x.
    """
    ...

  def squared_length(self, x: Points, v: Points) -> Float[Array, "*lengths"]:
    """Computes squared lengths of tangent vectors.

    Args:
      x: points.
      v: tangent vectors at x.

    Returns:
      Squared lengths; of a product, one for each coordinate, that of the part
      in its factor.
    """
    ...

  def expmap(self, x: Points, v: Points) -> Points:
    """Follows the geodesics from x along v.

    Args:
      x: points.
      v: tangent vectors at x.

    Returns:
      Points.
    """
    ...

  def ptransp(self, x: Points, y: Points, v: Points) -> Points:
    """Carries tangent vectors from x to y.

    Args:
      x: points.
      y: points.
      v: tangent vectors at x.

    Returns:
      Tangent vectors at y.
    """
    ...


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Lorentz:
  """The hyperboloid of curvature -curv; points by their space components.

  The form to store tables in: every row of numbers is a point.

  Attributes:
    curv: positive, a Python float or a 0-d JAX array.

  Examples:
    >>> manifold = Lorentz(1.0)
    >>> manifold.gradient(jnp.array([2.0, 0.0]), jnp.array([1.0, 1.0]))
    Array([5., 1.], dtype=float32)
  """

  curv: Any

  def gradient(self, x: Points, g: Points) -> Points:
    """Computes g + c (x.g) x."""
    return g + self.curv * dot(x, g)[..., None] * x

  def squared_length(self, x: Points, v: Points) -> Float[Array, "*batch"]:
    """Computes |v|^2 - (x.v / t)^2."""
    return stable.squared_length(v, x, self.curv)

  def expmap(self, x: Points, v: Points) -> Points:
    """Follows the geodesics from x along v."""
    return lorentz.expmap(x, v, self.curv)

  def ptransp(self, x: Points, y: Points, v: Points) -> Points:
    """Carries tangent vectors from x to y."""
    return lorentz.ptransp(x, y, v, self.curv)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Poincare:
  """The Poincare ball of curvature -curv, for tables of other libraries.

  In float32 prefer `Lorentz`: the steps are the same, and points far from the
  root keep their digits.

  Attributes:
    curv: positive, a Python float or a 0-d JAX array.

  Examples:
    >>> manifold = Poincare(1.0)
    >>> manifold.gradient(jnp.zeros(2), jnp.array([4.0, 0.0]))
    Array([1., 0.], dtype=float32)
  """

  curv: Any

  def gradient(self, x: Points, g: Points) -> Points:
    """Computes g / lambda^2."""
    return poincare.gradient(x, g, self.curv)

  def squared_length(self, x: Points, v: Points) -> Float[Array, "*batch"]:
    """Computes lambda^2 |v|^2."""
    return poincare.inner(x, v, v, self.curv)

  def expmap(self, x: Points, v: Points) -> Points:
    """Follows the geodesics from x along v."""
    return poincare.expmap(x, v, self.curv)

  def ptransp(self, x: Points, y: Points, v: Points) -> Points:
    """Carries tangent vectors from x to y."""
    return poincare.ptransp(x, y, v, self.curv)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Flat:
  """Euclidean space, as a factor of a `Product`.

  Each number is a point of its own, with a length of its own, so that Adam is
  the usual one.

  Examples:
    >>> Flat().expmap(jnp.array([1.0]), jnp.array([2.0]))
    Array([3.], dtype=float32)
  """

  def gradient(self, x: Points, g: Points) -> Points:
    """Returns g."""
    return g

  def squared_length(self, x: Points, v: Points) -> Points:
    """Computes the square of each number."""
    return v * v

  def expmap(self, x: Points, v: Points) -> Points:
    """Computes x + v."""
    return x + v

  def ptransp(self, x: Points, y: Points, v: Points) -> Points:
    """Returns v."""
    return v


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Product:
  """A product of manifolds: points side by side along the last axis.

  An optimiser moves each part as if it were a leaf of its own; so Adam has a
  second moment for each factor, as geoopt's does.

  Attributes:
    factors: manifolds, in the order of the coordinates.
    sizes: number of coordinates in each factor.

  Examples:
    >>> manifold = Product((Lorentz(1.0), Flat()), (2, 1))
    >>> x = jnp.array([2.0, 0.0, 3.0])
    >>> manifold.gradient(x, jnp.ones(3))
    Array([5., 1., 1.], dtype=float32)
  """

  factors: tuple[Any, ...]
  sizes: tuple[int, ...] = dataclasses.field(metadata={"static": True})

  def gradient(self, x: Points, g: Points) -> Points:
    """Computes the gradient in each factor."""
    return self._each(lambda m, x, g: m.gradient(x, g), x, g)

  def squared_length(self, x: Points, v: Points) -> Points:
    """Computes the squared length in its factor, for each coordinate."""

    def lengths(m, x, v):
      found = m.squared_length(x, v)
      found = found if found.ndim == v.ndim else found[..., None]
      return jnp.broadcast_to(found, v.shape)

    return self._each(lengths, x, v)

  def expmap(self, x: Points, v: Points) -> Points:
    """Follows the geodesics in each factor."""
    return self._each(lambda m, x, v: m.expmap(x, v), x, v)

  def ptransp(self, x: Points, y: Points, v: Points) -> Points:
    """Carries tangent vectors from x to y in each factor."""
    return self._each(lambda m, x, y, v: m.ptransp(x, y, v), x, y, v)

  def _each(self, function: Callable[..., Any], *rows: Points) -> Points:
    """Applies a function to each factor and its part of the rows."""
    if len(self.factors) != len(self.sizes) or any(
      row.shape[-1] != sum(self.sizes) for row in rows
    ):
      raise ValueError(
        f"{len(self.factors)} factors of {self.sizes} coordinates do not fit "
        f"rows of {rows[0].shape[-1]} numbers"
      )
    ends = [sum(self.sizes[: i + 1]) for i in range(len(self.sizes) - 1)]
    parts = [jnp.split(row, ends, axis=-1) for row in rows]
    moved = [
      function(m, *some) for m, *some in zip(self.factors, *parts, strict=True)
    ]
    return jnp.concatenate(moved, axis=-1)
