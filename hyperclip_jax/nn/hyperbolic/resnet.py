"""Poincare ResNet, for images of the size of CIFAR's.

Van Spengler, Berkhout and Mettes, Poincare ResNet, ICCV 2023.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.hyperbolic import conv, linear, norm, tangent

SkipAxis = Literal["channels", "width"]


class Block(nn.Module):
  """Convolution, norm, ReLU, convolution, norm, residual, ReLU.

  With a stride, the input goes past through a 1 x 1 convolution.

  Attributes:
    features: channels.
    stride: step of the first convolution.
    kernel_init: initialiser of kernels.
    dtype: dtype of the convolutions; None for that of the points.
    lambda_variant: see `PoincareResNet`.
    skip_axis: see `PoincareResNet`.

  Examples:
    >>> block = Block(4, stride=2)
    >>> x = jnp.ones((1, 8, 8, 2)) / 10
    >>> y, _ = block.init_with_output(jax.random.key(0), x, 0.1, False)
    >>> y.shape
    (1, 4, 4, 4)
  """

  features: int
  stride: int = 1
  kernel_init: Callable[..., Array] = conv.centre_identity
  dtype: DTypeLike | None = None
  lambda_variant: conv.LambdaVariant = "exact"
  skip_axis: SkipAxis = "channels"

  @nn.compact
  def __call__(
    self, x: Float[Array, "batch h w c"], curv: Scalar, train: bool
  ) -> Float[Array, "batch h2 w2 features"]:
    def convolve(x, name, size=3, stride=1):
      layer = conv.PoincareConv(
        self.features,
        (size, size),
        strides=stride,
        padding=size // 2,
        dtype=self.dtype,
        kernel_init=self.kernel_init,
        lambda_variant=self.lambda_variant,
        name=name,
      )
      return layer(x, curv)

    def normalise(x, name):
      return norm.BatchNorm(not train, name=name)(x, curv)

    y = normalise(convolve(x, "conv1", stride=self.stride), "norm1")
    y = normalise(convolve(tangent.relu(y, curv), "conv2"), "norm2")
    if self.stride != 1:
      x = convolve(x, "downsample", size=1, stride=self.stride)
    y = _residual(y, x, curv, self.skip_axis)
    return tangent.relu(y, curv)


class PoincareResNet(nn.Module):
  """Maps images to logits by a ResNet of Poincare layers.

  A 3 x 3 convolution and three groups of (depth - 2) / 6 blocks, of which the
  second and third halve the sides; the mean of tangent vectors; a dense layer,
  whose tangent vectors are the logits. Equal blocks are one scanned block, so
  that compiling takes no longer for more of them; their parameters are stacked
  along a leading axis.

  The defaults are the paper's network without the faults of its code: the
  gradients for the curvature are right, test accuracy does not depend on the
  batch, any image size and batch size will do.

  Attributes:
    num_classes: number of logits.
    depth: 20 or 32 in the paper; 6 n + 2.
    widths: channels of the groups.
    kernel_init: initialiser of kernels: `conv.centre_identity`, with which a
      new network passes images on, or `conv.published_identity`.
    dtype: dtype of the convolutions; None for that of the images.
    remat: whether the backward pass computes blocks anew, to save memory.
    lambda_variant: "published" for the factor that the published code has, see
      `conv.PoincareConv`.
    skip_axis: "width" to add blocks and their inputs as points whose components
      lie along the width of the image, as the published code does.

  Examples:
    >>> net = PoincareResNet(num_classes=10, depth=8, widths=(2, 4, 8))
    >>> images = jnp.zeros((1, 8, 8, 3))
    >>> variables = jax.eval_shape(
    ...   lambda key: net.init(key, images, 0.1, train=False),
    ...   jax.random.key(0),
    ... )
    >>> variables["params"]["conv"]["kernel"].shape
    (3, 3, 3, 2)
  """

  num_classes: int
  depth: int = 20
  widths: Sequence[int] = (8, 16, 32)
  kernel_init: Callable[..., Array] = conv.centre_identity
  dtype: DTypeLike | None = None
  remat: bool = False
  lambda_variant: conv.LambdaVariant = "exact"
  skip_axis: SkipAxis = "channels"

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch h w c"], curv: Scalar, train: bool
  ) -> Float[Array, "batch classes"]:
    if self.depth % 6 != 2 or self.depth < 8:
      raise ValueError(f"the depth is 6 n + 2, n >= 1; found {self.depth}")
    length = (self.depth - 2) // 6
    x = tangent.from_tangent(linear.wide(images), curv)
    x = conv.PoincareConv(
      self.widths[0],
      (3, 3),
      padding=1,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      lambda_variant=self.lambda_variant,
      name="conv",
    )(x, curv)
    x = norm.BatchNorm(not train, name="norm")(x, curv)
    x = tangent.relu(x, curv)
    x = self._equal_blocks(x, curv, train, self.widths[0], length, 1)
    for group, width in enumerate(self.widths[1:], 2):
      x = self._block(width, 2, f"group{group}_first")(x, curv, train)
      x = self._equal_blocks(x, curv, train, width, length - 1, group)
    pooled = jnp.mean(tangent.to_tangent(x, curv), axis=(1, 2))
    self.sow("intermediates", "pooled", pooled)
    # The published network's logits have the wrong factor here too.
    logits = conv.PoincareConv(
      self.num_classes,
      (),
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      lambda_variant=self.lambda_variant,
      name="head",
    )(tangent.from_tangent(pooled, curv), curv)
    return tangent.to_tangent(logits, curv)

  def _block(self, width, stride, name):
    kind = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
    return kind(
      width,
      stride,
      self.kernel_init,
      self.dtype,
      self.lambda_variant,
      self.skip_axis,
      name=name,
    )

  def _equal_blocks(self, x, curv, train, width, length, group):
    if not length:
      return x
    blocks = nn.scan(
      lambda block, x, _: (block(x, curv, train), None),
      variable_axes={"params": 0, "batch_stats": 0, "intermediates": 0},
      split_rngs={"params": True},
      length=length,
    )
    return blocks(self._block(width, 1, f"group{group}"), x, None)[0]


def _residual(x, skip, curv, axis):
  if axis == "channels":
    return tangent.residual(x, skip, curv)

  def turn(x, curv):
    u = tangent.to_tangent(x, curv)
    return tangent.from_tangent(u.swapaxes(-1, -2), curv)

  return turn(tangent.residual(turn(x, curv), turn(skip, curv), curv), curv)
