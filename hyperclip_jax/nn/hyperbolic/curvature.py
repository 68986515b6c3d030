"""A curvature that is trained."""

import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float


class Curvature(nn.Module):
  """Returns a positive parameter c, which layers take as their `curv`.

  The raw value is stored so that c starts as the number given: HypLL's
  Curvature(1.0) is softplus(1) = 1.31.

  Attributes:
    start: c before training, positive.
    positive: function that makes c of the raw value, "softplus" or "exp".

  Examples:
    >>> module = Curvature(0.5)
    >>> variables = module.init(jax.random.key(0))
    >>> f"{module.apply(variables):.4f}"
    '0.5000'
  """

  start: float = 1.0
  positive: Literal["softplus", "exp"] = "softplus"

  @nn.compact
  def __call__(self) -> Float[Array, ""]:
    if not self.start > 0:
      raise ValueError(f"a curvature is positive, found start={self.start}")
    if self.positive == "exp":
      raw = math.log(self.start)
      return jnp.exp(self.param("raw", nn.initializers.constant(raw), ()))
    # softplus(a) = c if a = log(exp(c) - 1).
    raw = self.start + math.log(-math.expm1(-self.start))
    return jax.nn.softplus(self.param("raw", nn.initializers.constant(raw), ()))
