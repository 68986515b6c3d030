"""Projectors: small networks from features to the space of a loss."""

from flax import linen as nn
from jaxtyping import Array, Float

from hyperclip_jax.nn.batch_norm import BatchNorm
from hyperclip_jax.nn.initializers import fan_in_uniform


class Projector(nn.Module):
  """Applies hidden layers with BatchNorm and ReLU, then a linear layer.

  In training the statistics are those of the rows of one call: views have
  statistics of their own if each is a call, as in SimCLR's descendants.

  Attributes:
    hidden: widths of the hidden layers.
    out: width of the result.
    hidden_bias: whether the hidden layers have a bias before the norm.
    bias: whether the last layer has a bias.
  """

  hidden: tuple[int, ...]
  out: int
  hidden_bias: bool = True
  bias: bool = True

  @nn.compact
  def __call__(
    self, x: Float[Array, "b width"], train: bool = False
  ) -> Float[Array, "b out"]:
    for number, width in enumerate(self.hidden, 1):
      x = _dense(f"layer{number}", width, self.hidden_bias, x)(x)
      x = nn.relu(BatchNorm(name=f"bn{number}")(x, train))
    last = f"layer{len(self.hidden) + 1}"
    return _dense(last, self.out, self.bias, x)(x)


def _dense(name: str, width: int, bias: bool, x: Array) -> nn.Dense:
  return nn.Dense(
    width,
    use_bias=bias,
    kernel_init=fan_in_uniform(),
    bias_init=fan_in_uniform(x.shape[-1]),
    name=name,
  )
