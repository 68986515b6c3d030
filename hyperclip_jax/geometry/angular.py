"""A hyperboloid whose points are compared by angles (ATMG).

Ramasinghe et al., Accept the Modality Gap: An Exploration in the Hyperbolic
  Space, CVPR 2024.
"""

import dataclasses

import jax
from jaxtyping import Float

from hyperclip_jax.geometry import numerics
from hyperclip_jax.geometry.hyperboloid import Lorentz
from hyperclip_jax.geometry.numerics import Array
from hyperclip_jax.geometry.space import Paired, Rows, by_rows, wide


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Angular(Lorentz):
  """Points are nearer the larger the exterior angle at the one farther out.

  That angle is pi where the other point lies on the way to the root. Images lie
  farther out than their texts, so it is the angle by which training compares an
  image with texts.

  Examples:
    >>> space = Angular(1.0)
    >>> x = space.lift(jnp.array([[1.0, 0.0], [2.0, 0.0]]))
    >>> space.pairs(x[:1], x[1:]).round(4)
    Array([3.1416], dtype=float32)
  """

  @property
  def by_products(self) -> bool:
    """False: no inner product orders as the angles do."""
    return False

  def pairs(self, x: Paired, y: Paired) -> Float[Array, " n"]:
    """Angles at the points farther out, row by row."""

    def angle(x, y):
      xp = numerics.namespace(x, y)
      swap = (numerics.dot(x, x) < numerics.dot(y, y))[..., None]
      outer, inner = xp.where(swap, y, x), xp.where(swap, x, y)
      return Lorentz(self.curv).exterior_angle(outer, inner)

    return by_rows(angle, x, y)

  def pairwise(self, x: Rows, y: Float[Array, "m dim"]) -> Float[Array, "n m"]:
    """Angles at the points farther out, of all pairs, row by row."""
    x, y = wide(x), wide(y)
    xp = numerics.namespace(x, y)
    if xp is not jax.numpy:
      found = [self.pairs(row[None], y) for row in x]
      return xp.stack(found) if found else xp.zeros((0, len(y)))
    # A row's residuals are as many times larger than its result as y is wide.
    row = jax.checkpoint(lambda row: self.pairs(row[None], y))
    return jax.lax.map(row, x)

  def similarity(
    self, x: Rows, y: Float[Array, "m dim"]
  ) -> Float[Array, "n m"]:
    """The angles."""
    return self.pairwise(x, y)
