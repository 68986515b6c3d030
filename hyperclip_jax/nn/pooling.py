"""Pooling of an image's patches by a query (Hyper3-CLIP)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class QueryPooling(nn.Module):
  """Pools patches by cross attention from queries, then an MLP.

  v = attention(W h, Z, Z) and v + mlp(norm(v)), with the queries h and patches
  Z, an exact GELU and biases everywhere.

  Attributes:
    heads: number of attention heads.
    mlp_ratio: width of the MLP, as a multiple of the patches'.
  """

  heads: int
  mlp_ratio: int = 4

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
    q_BQHK, k_BPHK = split("q", queries_BQD), split("k", patches_BPD)
    logits_BHQP = jnp.einsum("bqhk,bphk->bhqp", q_BQHK, k_BPHK)
    weights_BHQP = jax.nn.softmax(logits_BHQP * q_BQHK.shape[-1] ** -0.5)
    v_BPHK = split("v", patches_BPD)
    pooled_BQHK = jnp.einsum("bhqp,bphk->bqhk", weights_BHQP, v_BPHK)
    x_BQD = pooled_BQHK.reshape(queries_BQD.shape)
    x_BQD = nn.Dense(width, name="project")(x_BQD)
    y_BQD = nn.LayerNorm(epsilon=1e-5, name="norm")(x_BQD)
    y_BQF = nn.gelu(
      nn.Dense(self.mlp_ratio * width, name="mlp_1")(y_BQD), approximate=False
    )
    return x_BQD + nn.Dense(width, name="mlp_2")(y_BQF)
