"""Residual networks for images (He et al., 2016, arXiv 1512.03385)."""

from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.nn.batch_norm import BatchNorm


class Bottleneck(nn.Module):
  """Adds 1x1, 3x3 and 1x1 convolutions to the input; v1.5 strides the second.

  Attributes:
    width: channels of the first two convolutions; the output has four times as
      many.
    stride: stride of the 3x3 convolution.
    dtype: dtype of the computation; parameters are float32.
  """

  width: int
  stride: int
  dtype: DTypeLike

  @nn.compact
  def __call__(
    self, x: Float[Array, "b h w c"], train: bool = False
  ) -> Float[Array, "b _h _w _c"]:
    channels = 4 * self.width

    def norm(name, x, scale=nn.initializers.ones):
      return BatchNorm(scale_init=scale, dtype=self.dtype, name=name)(x, train)

    y = _conv("conv1", self.width, 1, 1, self.dtype)(x)
    y = nn.relu(norm("bn1", y))
    y = _conv("conv2", self.width, 3, self.stride, self.dtype)(y)
    y = nn.relu(norm("bn2", y))
    y = _conv("conv3", channels, 1, 1, self.dtype)(y)
    # A block starts as the identity (Goyal et al., 2017).
    y = norm("bn3", y, nn.initializers.zeros)
    if self.stride != 1 or x.shape[-1] != channels:
      x = _conv("shortcut", channels, 1, self.stride, self.dtype)(x)
      x = norm("shortcut_bn", x)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """Encodes images as the mean of the last features; ResNet-50 by default.

  Pads are symmetric, as in PyTorch, where "SAME" of JAX is not. There is no
  classifier.

  Attributes:
    blocks: number of blocks of each stage.
    widths: width of the blocks of each stage; features are four times as wide
      as the last.
    dtype: dtype of the computation; parameters are float32.
  """

  blocks: tuple[int, ...] = (3, 4, 6, 3)
  widths: tuple[int, ...] = (64, 128, 256, 512)
  dtype: DTypeLike = jnp.float32

  @property
  def width(self) -> int:
    """Width of the features."""
    return 4 * self.widths[-1]

  @nn.compact
  def __call__(
    self, images: Float[Array, "b h w 3"], train: bool = False
  ) -> Float[Array, "b width"]:
    x = _conv("conv1", 64, 7, 2, self.dtype)(images)
    x = nn.relu(BatchNorm(dtype=self.dtype, name="bn1")(x, train))
    padding: Any = ((1, 1), (1, 1))
    x = nn.max_pool(x, (3, 3), (2, 2), padding)
    stages = zip(self.blocks, self.widths, strict=True)
    for stage, (count, width) in enumerate(stages, 1):
      for block in range(count):
        stride = 2 if stage > 1 and block == 0 else 1
        name = f"layer{stage}_{block}"
        x = Bottleneck(width, stride, self.dtype, name=name)(x, train)
    return jnp.mean(x, axis=(1, 2))


def _conv(
  name: str, features: int, size: int, stride: int, dtype: DTypeLike
) -> nn.Conv:
  """A convolution without bias, padded by half its size on every side."""
  return nn.Conv(
    features,
    (size, size),
    (stride, stride),
    padding=[(size // 2, size // 2)] * 2,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    dtype=dtype,
    name=name,
  )
