"""Tables of points."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Int

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.hyperbolic import points, tangent


class Embedding(nn.Module):
  """Looks up points in a trained table.

  The table holds space components, of which all are points; `points.labels`
  gives its manifold to the optimiser. If the curvature is trained, the rows
  keep their components.

  Attributes:
    num_embeddings: number of rows.
    features: dimension of the points.
    scale: standard deviation of the tangent vectors that the rows start from.
      HypLL has 1, which puts rows at a distance of about 2 sqrt(features).

  Examples:
    >>> layer, ids = Embedding(10, 2), jnp.array([3, 1])
    >>> layer.init_with_output(jax.random.key(0), ids, 1.0)[0].shape
    (2, 2)
  """

  num_embeddings: int
  features: int
  scale: float = 0.01

  @nn.compact
  def __call__(
    self, ids: Int[Array, "*batch"], curv: Scalar
  ) -> Float[Array, "*batch features"]:
    def init(key, shape):
      u = self.scale * jax.random.normal(key, shape)
      return tangent.from_tangent(u, curv)

    shape = (self.num_embeddings, self.features)
    table = points.point_param(self, "embedding", init, shape)
    return jnp.take(table, ids, axis=0)
