"""Initialisers that Flax has not."""

from flax import linen as nn
from flax.linen.initializers import Initializer


def fan_in_uniform(fan_in: int | None = None) -> Initializer:
  """Draws from +-1 / sqrt(fan_in), PyTorch's default of linear layers.

  Args:
    fan_in: number of inputs of a unit, for a bias; None takes it from the shape
      of the kernel.

  Returns:
    Initialiser.
  """
  if fan_in is None:
    return nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
  limit = fan_in**-0.5
  uniform = nn.initializers.uniform(2 * limit)
  return lambda *args, **kwargs: uniform(*args, **kwargs) - limit
