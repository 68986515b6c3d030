"""Pooling of an image's patches by a query (Hyper3-CLIP)."""

import jax
from flax import linen as nn
from jaxtyping import Array, Float


class QueryPooling(nn.Module):
  """Pools patches by cross attention from queries, then an MLP.

  v = attention(W h, Z, Z) and v + mlp(norm(v)), with the queries h and patches
  Z, an exact GELU and biases everywhere.

  Attributes:
    heads: number of attention heads.
  """

  heads: int

  @nn.compact
  def __call__(
    self,
    queries_BQT: Float[Array, "b q text"],
    patches_BPD: Float[Array, "b patches width"],
  ) -> Float[Array, "b q width"]:
    width = patches_BPD.shape[-1]

    def split(name, x):
      y = nn.Dense(width, name=name)(x)
      return y.reshape(*y.shape[:2], self.heads, -1)

    queries_BQD = nn.Dense(width, name="text_query_proj")(queries_BQT)
    pooled_BQHK = jax.nn.dot_product_attention(
      split("q", queries_BQD), split("k", patches_BPD), split("v", patches_BPD)
    )
    x_BQD = pooled_BQHK.reshape(queries_BQD.shape)
    x_BQD = nn.Dense(width, name="out")(x_BQD)
    y_BQD = nn.LayerNorm(epsilon=1e-5, name="norm")(x_BQD)
    y_BQF = nn.gelu(nn.Dense(4 * width, name="fc1")(y_BQD), approximate=False)
    return x_BQD + nn.Dense(width, name="fc2")(y_BQF)
