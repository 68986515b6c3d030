"""Poincare ResNet, for images of the size of CIFAR's.

Van Spengler, Berkhout and Mettes, Poincare ResNet, ICCV 2023.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.geometry.numerics import Scalar
from hyperclip_jax.nn.hyperbolic import conv, linear, norm, tangent

SkipAxis = Literal["channels", "width"]


class Layer(nn.Module):
  """Convolution, norm, addition of a skip connection, ReLU.

  Images go in and out as tangent vectors at the root.

  Attributes:
    features: channels.
    stride: step of the convolution.
    kernel_init: initialiser of the kernel.
    dtype: dtype of the convolution; None for that of the vectors.
    lambda_variant: see `PoincareResNet`.
    skip_axis: see `PoincareResNet`.

  Examples:
    >>> layer = Layer(4, stride=2)
    >>> u = jnp.ones((1, 8, 8, 2)) / 10
    >>> v, _ = layer.init_with_output(jax.random.key(0), u, None, 0.1, False)
    >>> v.shape
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
    self,
    u: Float[Array, "batch h w c"],
    skip: Float[Array, "batch h2 w2 features"] | None,
    curv: Scalar,
    train: bool,
  ) -> Float[Array, "batch h2 w2 features"]:
    x = conv.PoincareConv(
      self.features,
      (3, 3),
      strides=self.stride,
      padding=1,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      lambda_variant=self.lambda_variant,
      in_loop=skip is not None,
      name="conv",
    ).of_tangents(u, curv)
    x = norm.BatchNorm(not train, name="norm")(x, curv)
    if skip is not None:
      x = _residual(x, tangent.from_tangent(skip, curv), curv, self.skip_axis)
    return jax.nn.relu(tangent.to_tangent(x, curv))


class PoincareResNet(nn.Module):
  """Maps images to logits by a ResNet of Poincare layers.

  A 3 x 3 convolution and three groups of (depth - 2) / 6 blocks of two layers,
  of which the second and third halve the sides; the mean of tangent vectors; a
  dense layer, whose tangent vectors are the logits.

  Equal layers are one scanned layer, so that compiling takes no longer for more
  of them; their parameters are stacked along a leading axis, two rows a block.
  The first layer of groups 2 and 3 has a stride, and is apart.

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
    remat: whether the backward pass computes layers anew, which saves memory
      and, on a CPU, time to run and to compile.
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
    >>> variables["params"]["first"]["conv"]["kernel"].shape
    (3, 3, 3, 2)
  """

  num_classes: int
  depth: int = 20
  widths: Sequence[int] = (8, 16, 32)
  kernel_init: Callable[..., Array] = conv.centre_identity
  dtype: DTypeLike | None = None
  remat: bool = True
  lambda_variant: conv.LambdaVariant = "exact"
  skip_axis: SkipAxis = "channels"

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch h w c"], curv: Scalar, train: bool
  ) -> Float[Array, "batch classes"]:
    if self.depth % 6 != 2 or self.depth < 8:
      raise ValueError(f"the depth is 6 n + 2, n >= 1; found {self.depth}")
    layers = (self.depth - 2) // 3  # of a group
    u = linear.wide(images)
    u = self._layer(self.widths[0], 1, "first")(u, None, curv, train)
    u = self._equal_layers(u, u, curv, train, layers, "group1")
    for group, width in enumerate(self.widths[1:], 2):
      skip = self._conv(width, (1, 1), 2, f"group{group}_skip")(u, curv)
      u = self._layer(width, 2, f"group{group}_first")(u, None, curv, train)
      u = self._equal_layers(u, skip, curv, train, layers - 1, f"group{group}")
    pooled = jnp.mean(u, axis=(1, 2))
    self.sow("intermediates", "pooled", pooled)
    # The published network's logits have the wrong factor here too.
    return self._conv(self.num_classes, (), 1, "head")(pooled, curv)

  def _conv(self, width, size, stride, name):
    """Returns a convolution of tangent vectors, to tangent vectors."""
    layer = conv.PoincareConv(
      width,
      size,
      strides=stride,
      padding=0,
      dtype=self.dtype,
      kernel_init=self.kernel_init,
      lambda_variant=self.lambda_variant,
      name=name,
    )
    return lambda u, curv: tangent.to_tangent(layer.of_tangents(u, curv), curv)

  def _layer(self, width, stride, name):
    kind = nn.remat(Layer, static_argnums=(4,)) if self.remat else Layer
    return kind(
      width,
      stride,
      self.kernel_init,
      self.dtype,
      self.lambda_variant,
      self.skip_axis,
      name=name,
    )

  def _equal_layers(self, u, skip, curv, train, count, name):
    """Applies the layers of a group, of which every other one ends a block.

    `skip` is what goes past the block. Within a block the root is added, which
    changes nothing, so that all layers are one program.
    """

    def step(layer, carry, ends):
      u, skip = carry
      u = layer(u, ends * skip, curv, train)
      return (u, jnp.where(ends > 0, u, skip)), None

    ends = (jnp.arange(count)[::-1] % 2 == 0).astype(u.dtype)
    scanned = nn.scan(
      step,
      variable_axes={"params": 0, "batch_stats": 0, "intermediates": 0},
      split_rngs={"params": True},
      length=count,
    )
    layer = self._layer(u.shape[-1], 1, name)
    return scanned(layer, (u, skip), ends)[0][0]


def _residual(x, skip, curv, axis):
  if axis == "channels":
    return tangent.residual(x, skip, curv)

  def turn(x, curv):
    u = tangent.to_tangent(x, curv)
    return tangent.from_tangent(u.swapaxes(-1, -2), curv)

  return turn(tangent.residual(turn(x, curv), turn(skip, curv), curv), curv)
