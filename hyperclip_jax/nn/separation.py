"""Maximum class separation as a fixed last layer.

Kasarla et al., Maximum Class Separation as Inductive Bias in One Matrix,
NeurIPS 2022.
"""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float


def prototypes(num_classes: int) -> Float[np.ndarray, "dim classes"]:
  """Makes unit vectors of equal angles, one a column, that sum to 0.

  The cosine of any two of C is -1 / (C - 1). The closed form of the paper's
  recursion: with k = C - 1 and g_i^2 = (k + 1) (k - i) / (k (k - i + 1)), row i
  is 0 before column i, g_i there and -g_i / (k - i) behind it.

  Args:
    num_classes: C, at least 2.

  Returns:
    Array (C - 1, C) float64.

  Raises:
    ValueError: there are fewer than 2 classes.

  Examples:
    >>> prototypes(3).round(3).tolist()
    [[1.0, -0.5, -0.5], [0.0, 0.866, -0.866]]
  """
  sizes, left = _sizes(num_classes)
  rows, columns = np.arange(len(left))[:, None], np.arange(num_classes)[None]
  behind = np.where(columns > rows, (-sizes / left)[:, None], 0)
  return np.where(columns == rows, sizes[:, None], behind)


class MaxSeparation(nn.Module):
  """Maps C - 1 features to logits of C classes, without parameters.

  The logits are radius times the products of the features and `prototypes`,
  for the ordinary cross entropy, computed in two passes over the features
  instead of a matrix product.

  Attributes:
    num_classes: C, at least 2; the input has C - 1 features.
    radius: scale of the logits; the paper has 0.1 for ResNets and 1 for
      AlexNet.

  Examples:
    >>> head = MaxSeparation(num_classes=3, radius=2.0)
    >>> head.apply({}, jnp.array([1.0, 0.0]))
    Array([ 2., -1., -1.], dtype=float32)
  """

  num_classes: int
  radius: float = 1.0

  @nn.compact
  def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch c"]:
    sizes, left = _sizes(self.num_classes)
    if x.shape[-1] != len(sizes):
      raise ValueError(
        f"{self.num_classes} classes take {len(sizes)} features, found "
        f"{x.shape[-1]}"
      )
    if jnp.finfo(x.dtype).bits < 32:
      x = x.astype(jnp.float32)
    lead = (None,) * (x.ndim - 1)
    own = x * jnp.asarray(self.radius * sizes, x.dtype)[lead]
    others = jnp.cumsum(own / jnp.asarray(left, x.dtype)[lead], axis=-1)
    pads = [(0, 0)] * (x.ndim - 1)
    return jnp.pad(own, [*pads, (0, 1)]) - jnp.pad(others, [*pads, (1, 0)])


def _sizes(num_classes):
  """Returns g_i and k - i, for i from 0 to k - 1."""
  if num_classes < 2:
    raise ValueError(
      f"maximum separation takes at least 2 classes, found {num_classes}"
    )
  k = num_classes - 1
  left = k - np.arange(k)
  return np.sqrt((k + 1) * left / (k * (left + 1))), left
