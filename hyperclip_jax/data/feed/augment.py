"""Crops and resizes on the device, as Pillow does on the host."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8


@functools.partial(jax.jit, static_argnames="size")
def crop_resize(
  images: UInt8[Array, "batch height width 3"],
  crops: Float[Array, "batch 4"],
  size: int,
) -> Float[Array, "batch size size 3"]:
  """Resizes a crop of each image to a square by antialiased bicubic filtering.

  The result equals Pillow's `image.crop(c).resize((size, size), BICUBIC)`, up
  to a level of 255 in a few pixels: a separable filter, columns first, rounded
  to whole levels after each of the two passes.

  Args:
    images: canvases.
    crops: x0, y0, x1, y1 in whole pixels, inside the image and not empty.
    size: side of the resized images in pixels.

  Returns:
    Pixels in [0, 1].
  """
  x0, y0, x1, y1 = jnp.split(crops, 4, axis=1)
  _, height, width, _ = images.shape
  # HIGH is TF32 on GPUs and three passes of bf16 on TPUs. Levels are exact in
  # either, and the error of the weights is far below half a level.
  matmul = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGH)
  pixels = images.astype(crops.dtype)
  pixels = _levels(
    matmul("bow,bhwc->bhoc", _bicubic_weights(x0, x1, width, size), pixels)
  )
  pixels = _levels(
    matmul("boh,bhwc->bowc", _bicubic_weights(y0, y1, height, size), pixels)
  )
  return pixels / 255


def _bicubic_weights(
  start: Float[Array, "batch 1"],
  stop: Float[Array, "batch 1"],
  length: int,
  size: int,
) -> Float[Array, "batch {size} {length}"]:
  """Weights of each input pixel (last axis) for each output pixel.

  The cubic of Keys (1981) with a = -0.5, widened by the scale where it
  shrinks; taps outside of [start, stop) are left out, the rest sum to 1.
  """
  start, stop = start[:, :, None], stop[:, :, None]
  scale = (stop - start) / size
  position = jnp.arange(length, dtype=start.dtype)[None, None, :]
  output = jnp.arange(size, dtype=start.dtype)[None, :, None]
  distance = (position - start + 0.5) - (output + 0.5) * scale
  weights = _keys_cubic(jnp.abs(distance) / jnp.maximum(scale, 1))
  weights = jnp.where((position >= start) & (position < stop), weights, 0)
  return weights / jnp.sum(weights, axis=2, keepdims=True)


def _keys_cubic(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """The cubic convolution kernel with a = -0.5 at distances x >= 0."""
  near = (1.5 * x - 2.5) * x * x + 1
  far = ((-0.5 * x + 2.5) * x - 4) * x + 2
  return jnp.where(x < 1, near, jnp.where(x < 2, far, 0))


def _levels(pixels: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """Rounds half up to whole levels of 0 to 255, as Pillow stores them."""
  return jnp.clip(jnp.floor(pixels + 0.5), 0, 255)
