"""Batch normalisation with the running statistics of PyTorch."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float


class BatchNorm(nn.Module):
  """Normalises each feature over all other axes (Ioffe and Szegedy, 2015).

  Under `jit` the statistics are those of the global batch, however many devices
  share it. The running variance is the unbiased one, N / (N - 1) of that which
  normalises, which is what PyTorch keeps and `flax.linen.BatchNorm` does not.
  Two calls update the running statistics twice.

  Attributes:
    momentum: weight of a batch in the running statistics.
    epsilon: added to the variance.
    affine: whether there are a scale and a bias.
    scale_init: initialiser of the scale.
    dtype: dtype of the result; None for that of the input. Statistics are
      float32 or wider.
  """

  momentum: float = 0.1
  epsilon: float = 1e-5
  affine: bool = True
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: DTypeLike | None = None

  @nn.compact
  def __call__(
    self, x: Float[Array, "*rows features"], train: bool = False
  ) -> Float[Array, "*rows features"]:
    features, dtype = x.shape[-1:], self.dtype or x.dtype
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
    running_var = self.variable("batch_stats", "var", jnp.ones, features)
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if train:
      axes = tuple(range(x.ndim - 1))
      mean = jnp.mean(x, axes)
      centred = x - _wide(mean, x)
      var = jnp.mean(jnp.square(centred), axes)
      if not self.is_initializing():
        count = x.size // x.shape[-1]
        unbiased = var * (count / max(count - 1, 1))
        for running, new in ((running_mean, mean), (running_var, unbiased)):
          new = new.astype(running.value.dtype)
          running.value = running.value + self.momentum * (new - running.value)
    else:
      centred = x - _wide(running_mean.value, x)
      var = running_var.value
    factor = jax.lax.rsqrt(var + self.epsilon)
    if self.affine:
      factor = factor * self.param("scale", self.scale_init, features)
    out = centred * _wide(factor, x)
    if self.affine:
      bias = self.param("bias", nn.initializers.zeros, features)
      out = out + _wide(bias, x)
    return out.astype(dtype)


def _wide(x: Array, like: Array) -> Array:
  return x.reshape((1,) * (like.ndim - 1) + x.shape).astype(like.dtype)
