"""Manifolds as an optimiser sees them: gradients, steps and transport.

A manifold labels a leaf of the parameters; its last axis holds the coordinates
of a point. A manifold is a JAX pytree whose leaf is its curvature, which may be
traced.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
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

  def squared_length(self, x: Points, v: Points) -> Float[Array, "*batch"]:
    """Computes squared lengths of tangent vectors.

    Args:
      x: points.
      v: tangent vectors at x.

    Returns:
      Squared lengths.
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
