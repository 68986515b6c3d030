"""Attention by Lorentz distance, and a transformer block of it.

Chen et al., Fully Hyperbolic Neural Networks, ACL 2022.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float

from hyperclip_jax.geometry import numerics, stable
from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.hyperbolic.linear import LorentzDense, wide
from hyperclip_jax.nn.hyperbolic.tangent import centroid_residual


def lorentz_attention(
  q: Float[Array, "*batch n dim"],
  k: Float[Array, "*batch m dim"],
  v: Float[Array, "*batch m width"],
  curv: Scalar,
  scale: Scalar,
  mask: Bool[Array, "*#batch n m"] | None = None,
) -> Float[Array, "*batch n width"]:
  """Takes centroids of values, weighted by nearness of their keys.

  The weights are the softmax of -scale (-2 / c - 2 <q, k>), minus the squared
  Lorentz distance. The products are matrix products: in float32 they serve
  points up to a distance of about 4 / sqrt(c) from the root.

  Args:
    q: queries, n points.
    k: keys, m points.
    v: values, m points.
    curv: c, where the curvature is -c.
    scale: inverse temperature.
    mask: which keys a query sees, at least one of them; None for all.

  Returns:
    Centroids.

  Examples:
    >>> q, k = jnp.zeros((1, 2)), jnp.zeros((3, 2))
    >>> v = jnp.array([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]])
    >>> lorentz_attention(q, k, v, 1.0, 1.0)
    Array([[0., 0.]], dtype=float32)
  """
  times = (
    stable.time(q, curv)[..., :, None] * stable.time(k, curv)[..., None, :]
  )
  logits = 2 * scale * (1 / curv + numerics.products(q, k) - times)
  if mask is not None:
    logits = jnp.where(mask, logits, -jnp.inf)
  weights = jax.nn.softmax(logits, axis=-1)
  mean = weights @ v
  t = jnp.sum(weights * stable.time(v, curv)[..., None, :], axis=-1)
  # -<m, m> of the mean m of points is at least 1 / c.
  size2 = jnp.maximum(t * t - numerics.dot(mean, mean), 1 / curv)
  return mean / jnp.sqrt(curv * size2)[..., None]


class LorentzAttention(nn.Module):
  """Multi-head self-attention of points.

  Queries, keys, values and the result are `LorentzDense` layers; a head is a
  point of its own, and heads are joined by their space components.

  Attributes:
    num_heads: number of heads, a divisor of the dimension.
    dtype: dtype of the products with kernels; None for that of the points.

  Examples:
    >>> layer, x = LorentzAttention(2), jnp.ones((5, 3, 4))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 3, 4)
  """

  num_heads: int
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "*batch n dim"],
    curv: Scalar,
    mask: Bool[Array, "*#batch n n"] | None = None,
  ) -> Float[Array, "*batch n dim"]:
    dim = x.shape[-1]
    if dim % self.num_heads:
      raise ValueError(
        f"the dimension {dim} is no multiple of {self.num_heads} heads"
      )

    def heads(name):
      y = LorentzDense(dim, dtype=self.dtype, name=name)(x, curv)
      return y.reshape(*x.shape[:-1], self.num_heads, -1).swapaxes(-2, -3)

    q, k, v = (heads(name) for name in ("query", "key", "value"))
    start = nn.initializers.constant((dim // self.num_heads) ** -0.5)
    scale = self.param("scale", start, ()).astype(q.dtype)
    if mask is not None:
      lead = (1,) * (x.ndim - mask.ndim)
      mask = mask.reshape(lead + mask.shape)[..., None, :, :]  # of all heads
    y = lorentz_attention(q, k, v, curv, scale, mask)
    y = y.swapaxes(-2, -3).reshape(x.shape)
    return LorentzDense(dim, dtype=self.dtype, name="out")(y, curv)


class LorentzBlock(nn.Module):
  """Transformer block: attention and a network, each behind a norm.

  The norms are layer norms of the space components, of which any are a point;
  `centroid_residual` adds the input.

  Attributes:
    num_heads: number of heads, a divisor of the dimension.
    mlp_ratio: width of the network in dimensions of the input.
    dtype: dtype of the products with kernels; None for that of the points.

  Examples:
    >>> layer, x = LorentzBlock(2), jnp.ones((5, 3, 4))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 3, 4)
  """

  num_heads: int
  mlp_ratio: int = 4
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(
    self,
    x: Float[Array, "*batch n dim"],
    curv: Scalar,
    mask: Bool[Array, "*#batch n n"] | None = None,
  ) -> Float[Array, "*batch n dim"]:
    x, dim = wide(x), x.shape[-1]
    attention = LorentzAttention(self.num_heads, self.dtype, name="attention")
    y = attention(nn.LayerNorm(name="norm1")(x), curv, mask)
    x = centroid_residual(y, x, curv)
    y = nn.LayerNorm(name="norm2")(x)
    width = self.mlp_ratio * dim
    y = LorentzDense(width, dtype=self.dtype, name="fc1")(y, curv)
    y = LorentzDense(dim, dtype=self.dtype, name="fc2")(nn.gelu(y), curv)
    return centroid_residual(y, x, curv)
