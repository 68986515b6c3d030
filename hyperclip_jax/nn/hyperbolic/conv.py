"""Convolutions of images whose pixels are points.

Images are (*batch, *spatial, channels), like those of `flax.linen.Conv`, with
as many spatial axes as the kernel has. Padding is the root. Matrix products are
computed in `dtype`; all else, and the points, in float32 or better.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from hyperclip_jax.geometry import beta, elementary, hyperplanes, numerics
from hyperclip_jax.geometry.numerics import Scalar, dot
from hyperclip_jax.nn.hyperbolic import linear, tangent, windows

Init = Callable[..., Array]
LambdaVariant = Literal["exact", "published"]


def centre_identity(
  key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
  """Initialises a kernel (*spatial, inputs, outputs) with I / 2 in its middle.

  The convolution then passes each pixel on, but for the factor of
  beta-concatenation and the length of the whole patch. Where there are more
  outputs than inputs, the others start at 0.

  Args:
    key: random key, which is not used.
    shape: shape of the kernel.
    dtype: dtype of the kernel.

  Returns:
    Kernel.

  Examples:
    >>> centre_identity(jax.random.key(0), (3, 1, 1))[:, 0, 0].tolist()
    [0.0, 0.5, 0.0]
  """
  del key
  *spatial, inputs, outputs = shape
  centre = tuple(n // 2 for n in spatial)
  eye = jnp.eye(inputs, outputs, dtype=dtype) / 2
  return jnp.zeros(shape, dtype).at[centre].set(eye)


def published_identity(
  key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
  """Initialises a kernel as Poincare ResNet does: I / 2 over whole patches.

  Output j is place j mod 9 of channel j div 9 for a 3 x 3 kernel, so that the
  layer is no identity.

  Args:
    key: random key, which is not used.
    shape: shape of the kernel (*spatial, inputs, outputs).
    dtype: dtype of the kernel.

  Returns:
    Kernel.

  Examples:
    >>> published_identity(jax.random.key(0), (3, 1, 1))[:, 0, 0].tolist()
    [0.5, 0.0, 0.0]
  """
  del key
  *spatial, inputs, outputs = shape
  rows = jnp.eye(inputs * math.prod(spatial), outputs, dtype=dtype) / 2
  return jnp.moveaxis(rows.reshape(inputs, *spatial, outputs), 0, -2)


def patch_normal(
  key: Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32
) -> Array:
  """Initialises a kernel as HypLL does, by `linear.half_identity` of patches.

  Args:
    key: random key.
    shape: shape of the kernel (*spatial, inputs, outputs).
    dtype: dtype of the kernel.

  Returns:
    Kernel; channels come before places in a patch.

  Examples:
    >>> patch_normal(jax.random.key(0), (3, 3, 8, 16)).std().round(2)
    Array(0.02, dtype=float32)
  """
  *spatial, inputs, outputs = shape
  rows = (inputs * math.prod(spatial), outputs)
  kernel = linear.half_identity(key, rows, dtype)
  return jnp.moveaxis(kernel.reshape(inputs, *spatial, outputs), 0, -2)


class PoincareConv(nn.Module):
  """Convolves an image of points: a dense layer of beta-concatenated patches.

  The patch of tangent vectors at the root goes into one ordinary convolution,
  and its length into the rest of `hyperplanes.fully_connected` (Shimizu et al.,
  2021; HypLL's HConvolution2d; van Spengler et al., Poincare ResNet, ICCV
  2023).

  Attributes:
    features: channels of the output.
    kernel_size: lengths of the kernel, one for each spatial axis.
    strides: steps of the kernel.
    padding: "SAME", "VALID", or places, as for `flax.linen.Conv`.
    kernel_dilation: distances between the places of the kernel.
    use_bias: whether hyperplanes have offsets.
    dtype: dtype of the convolution; None for that of the points.
    kernel_init: initialiser of the kernel (*kernel_size, inputs, features).
    bias_init: initialiser of the offsets.
    lambda_variant: "exact", or "published" for the factor 2 (1 - c |p|^2) that
      the code of Poincare ResNet has instead of 2 / (1 - c |p|^2).
    in_loop: whether the layer is part of a loop, such as `nn.scan`. Then CPUs
      multiply patches: XLA has fast gradients of convolutions outside of loops
      only.

  Examples:
    >>> layer, x = PoincareConv(8, (3, 3), strides=2), jnp.ones((5, 6, 6, 4))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 3, 3, 8)
  """

  features: int
  kernel_size: Sequence[int]
  strides: windows.Sizes = 1
  padding: windows.Padding = "SAME"
  kernel_dilation: windows.Sizes = 1
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = centre_identity
  bias_init: Init = nn.initializers.zeros
  lambda_variant: LambdaVariant = "exact"
  in_loop: bool = False

  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*rest features"]:
    return self.of_tangents(tangent.to_tangent(linear.wide(x), curv), curv)

  @nn.compact
  def of_tangents(
    self, u: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*rest features"]:
    """Convolves an image of tangent vectors at the root.

    Args:
      u: `tangent.to_tangent` of the image.
      curv: c, where the curvature is -c.

    Returns:
      Image of points.
    """
    rank = len(self.kernel_size)
    lead, u = _images(linear.wide(u), rank)
    rc, own = jnp.sqrt(curv), u.shape[-1]
    shape = (*self.kernel_size, own, self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    u = beta.ratio(own * math.prod(self.kernel_size), own) * u
    slide = _slide(self, u.shape[1:-1])
    # The patch of length |u| is the point with k t = cosh(r), r = 2 k |u|. One
    # sinh(r / 2) gives cosh(r) - 1, cosh(r / 2) and so sinh(r), too.
    r2, size = tangent.within_reach(4 * curv * slide.sum(dot(u, u)))
    half = elementary.sinhc(r2 / 4)
    excess = r2 / 2 * half**2
    k_t = 1 + excess
    stretch = size * half * jnp.sqrt(1 + excess / 2)
    convolve = slide.conv
    if self.in_loop and max(slide.dilation, default=1) == 1:
      convolve = slide.conv_in_loop
    along = (2 * rc * stretch)[..., None] * convolve(u, kernel, self.dtype)
    k_t, along = _factor(k_t, along, self.lambda_variant)
    r = None
    if self.use_bias:
      r = self.param("bias", self.bias_init, shape[-1:]).astype(u.dtype)
    lengths = numerics.norm(kernel.astype(u.dtype).reshape(-1, shape[-1]).T)
    v = hyperplanes.from_projections(along, k_t, lengths, r, curv)
    y = hyperplanes.at_logits(v, curv)
    return y.reshape(*lead, *y.shape[1:])


class LorentzConv(nn.Module):
  """Convolves an image of points: `LorentzDense` of patches.

  The space components of a patch are those of its points side by side, and its
  time follows from them, t^2 = sum t_i^2 - (n - 1) / c (Bdeir et al., Fully
  Hyperbolic Convolutional Neural Networks for Computer Vision, ICLR 2024).

  Attributes:
    features: channels of the output.
    kernel_size: lengths of the kernel, one for each spatial axis.
    strides: steps of the kernel.
    padding: "SAME", "VALID", or places, as for `flax.linen.Conv`.
    kernel_dilation: distances between the places of the kernel.
    use_bias: whether to add a bias to the space components.
    dtype: dtype of the convolution; None for that of the points.
    kernel_init: initialiser of the kernel (*kernel_size, inputs, features).
    time_init: initialiser of the kernel of the time.
    bias_init: initialiser of the bias.

  Examples:
    >>> layer, x = LorentzConv(8, (3, 3), strides=2), jnp.ones((5, 6, 6, 4))
    >>> layer.init_with_output(jax.random.key(0), x, 1.0)[0].shape
    (5, 3, 3, 8)
  """

  features: int
  kernel_size: Sequence[int]
  strides: windows.Sizes = 1
  padding: windows.Padding = "SAME"
  kernel_dilation: windows.Sizes = 1
  use_bias: bool = True
  dtype: DTypeLike | None = None
  kernel_init: Init = nn.initializers.lecun_normal()
  time_init: Init = nn.initializers.zeros
  bias_init: Init = nn.initializers.zeros

  @nn.compact
  def __call__(
    self, x: Float[Array, "*batch dim"], curv: Scalar
  ) -> Float[Array, "*rest features"]:
    lead, x = _images(linear.wide(x), len(self.kernel_size))
    shape = (*self.kernel_size, x.shape[-1], self.features)
    kernel = self.param("kernel", self.kernel_init, shape)
    row = self.param("time_kernel", self.time_init, shape[-1:])
    rows = [row.astype(x.dtype)]
    slide = _slide(self, x.shape[1:-1])
    t = jnp.sqrt(1 / curv + slide.sum(dot(x, x)))
    if self.use_bias:
      bias = self.param("bias", self.bias_init, shape[-1:])
      rows.append(bias.astype(x.dtype))
    row, *bias = (a.reshape((1,) * t.ndim + a.shape) for a in rows)
    y = slide.conv(x, kernel, self.dtype) + t[..., None] * row
    y = y + bias[0] if bias else y
    return y.reshape(*lead, *y.shape[1:])


class _Slide(NamedTuple):
  """The way of a kernel over an image."""

  window: tuple[int, ...]
  strides: tuple[int, ...]
  dilation: tuple[int, ...]
  padding: list[tuple[int, int]]

  def sum(self, x):
    """Sums (batch, *spatial) over the places of each patch."""
    return jax.lax.reduce_window(
      x,
      0.0,
      jax.lax.add,
      (1, *self.window),
      (1, *self.strides),
      ((0, 0), *self.padding),
      window_dilation=(1, *self.dilation),
    )

  def conv_in_loop(self, x, kernel, dtype):
    """Convolves by a product of patches where that is faster."""

    def product(x, kernel):
      patches = windows.stack(x, self.window, self.strides, self.padding)
      patches = patches.reshape(*patches.shape[:-2], -1)
      return linear.product(
        patches, kernel.reshape(-1, kernel.shape[-1]), dtype
      )

    def convolution(x, kernel):
      return self.conv(x, kernel, dtype)

    return jax.lax.platform_dependent(
      x, kernel, cpu=product, default=convolution
    )

  def conv(self, x, kernel, dtype):
    """Convolves (batch, *spatial, channels) in a dtype, to that of x."""
    rank = len(self.window)
    image = (0, rank + 1, *range(1, rank + 1))
    numbers = jax.lax.ConvDimensionNumbers(
      image, (rank + 1, rank, *range(rank)), image
    )
    return jax.lax.conv_general_dilated(
      x.astype(dtype or x.dtype),
      kernel.astype(dtype or x.dtype),
      self.strides,
      self.padding,
      rhs_dilation=self.dilation,
      dimension_numbers=numbers,
      preferred_element_type=x.dtype,
    )


def _slide(layer, spatial):
  """Returns the way of a layer's kernel over an image of the lengths."""
  window = tuple(layer.kernel_size)
  strides = windows.sizes(layer.strides, len(window))
  dilation = windows.sizes(layer.kernel_dilation, len(window))
  padding = windows.pads(layer.padding, spatial, window, strides, dilation)
  return _Slide(window, strides, dilation, padding)


def _images(x, rank):
  """Returns the leading axes, and the images with one in their place."""
  if x.ndim < rank + 1:
    raise ValueError(
      f"a kernel of {rank} axes takes images of at least {rank + 1} axes, "
      f"the last of channels, found the shape {x.shape}"
    )
  lead = x.shape[: x.ndim - rank - 1]
  return lead, x.reshape(math.prod(lead), *x.shape[len(lead) :])


def _factor(k_t, along, variant):
  """Replaces lambda = 1 + k t by 4 / (1 + k t) if `variant` is "published"."""
  if variant == "exact":
    return k_t, along
  wrong = 4 / (1 + k_t)
  return wrong - 1, (wrong / (1 + k_t))[..., None] * along
