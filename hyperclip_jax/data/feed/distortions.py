"""Distorts images on the device: flip, colour jitter, blur and others.

Images are floats in [0, 1], never rounded to levels, as in torchvision's
transforms of float tensors. Rows are independent.
"""

import dataclasses
import functools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, UInt32

from hyperclip_jax.sections import Section, choice, number

SIGMA = (0.1, 2.0)  # pixels; range of the blur's standard deviation (SimCLR)
BOXES, BOX_REACH = 3, 3  # boxes of a blur, pixels on each side that one covers


@dataclasses.dataclass(frozen=True)
class Options(Section):
  """Options of `augment`; nothing is on by default.

  Attributes:
    flip: probability of a horizontal flip.
    jitter: probability of a colour jitter by the four strengths below.
    brightness: the factor is uniform in [max(0, 1 - x), 1 + x].
    contrast: the same for contrast.
    saturation: the same for saturation.
    hue: the shift is uniform in [-x, x], in turns of at most 0.5.
    grayscale: probability of a conversion to grey.
    blur: probability of a Gaussian blur.
    blur_form: "gaussian" for the kernel itself, or "boxes" for Pillow's
      approximation of it.
    solarize: probability of a solarisation.

  Raises:
    ValueError: an option is out of range; the message names it.
  """

  flip: float = number(0.0, least=0, most=1)
  jitter: float = number(0.0, least=0, most=1)
  brightness: float = number(0.0, least=0)
  contrast: float = number(0.0, least=0)
  saturation: float = number(0.0, least=0)
  hue: float = number(0.0, least=0, most=0.5)
  grayscale: float = number(0.0, least=0, most=1)
  blur: float = number(0.0, least=0, most=1)
  blur_form: str = choice("gaussian", ("gaussian", "boxes"))
  solarize: float = number(0.0, least=0, most=1)

  def problems(self):
    strengths = (self.brightness, self.contrast, self.saturation, self.hue)
    if self.jitter and not any(strengths):
      yield (
        f"jitter = {self.jitter} changes nothing: give brightness, contrast, "
        "saturation or hue a strength above 0, or set jitter to 0"
      )


@functools.partial(jax.jit, static_argnames="options")
def augment(
  images: Float[Array, "batch height width 3"],
  seeds: UInt32[Array, " batch"],
  options: Options,
) -> Float[Array, "batch height width 3"]:
  """Flips, jitters, grays, blurs and solarizes images, in this order.

  Each applies to each image with its probability. All draws for an image depend
  on its seed only, and those of one distortion do not change with the options
  of another. Distortions that are off are not traced.

  Args:
    images: pixels in [0, 1].
    seeds: one seed an image; two views of an example need two seeds.
    options: static options.

  Returns:
    Pixels in [0, 1].

  Raises:
    ValueError: the blur is on and a side is too short for it.

  References:
    Chen et al., A Simple Framework for Contrastive Learning of Visual
    Representations (SimCLR), 2020, and Grill et al., Bootstrap Your Own
    Latent (BYOL), 2020, for the order and the blur.
  """
  return jax.vmap(functools.partial(_augment_one, options))(images, seeds)


def _augment_one(
  options: Options,
  image: Float[Array, "height width 3"],
  seed: UInt32[Array, ""],
) -> Float[Array, "height width 3"]:
  jitter = functools.partial(
    color_jitter,
    strengths=(
      options.brightness,
      options.contrast,
      options.saturation,
      options.hue,
    ),
  )
  # Threefry by its name: with others, draws under vmap depend on the batch.
  key = jax.random.key(seed, impl="threefry2x32")
  # The place in this list is the stream of draws.
  for stream, (probability, distort) in enumerate(
    (
      (options.flip, lambda image, _: flip(image)),
      (options.jitter, jitter),
      (options.grayscale, lambda image, _: grayscale(image)),
      (options.blur, functools.partial(_random_blur, options.blur_form)),
      (options.solarize, lambda image, _: solarize(image)),
    )
  ):
    if probability > 0:
      coin, draws = jax.random.split(jax.random.fold_in(key, stream))
      happens = jax.random.bernoulli(coin, probability)
      image = jnp.where(happens, distort(image, draws), image)
  return image


def flip(
  images: Float[Array, "*batch height width 3"],
) -> Float[Array, "*batch height width 3"]:
  """Mirrors images horizontally."""
  return images[..., ::-1, :]


def grayscale(
  images: Float[Array, "*batch height width 3"],
) -> Float[Array, "*batch height width 3"]:
  """Converts to the luma of ITU-R BT.601, in all three channels."""
  return jnp.broadcast_to(_luma(images), images.shape)


def brightness(
  images: Float[Array, "*batch height width 3"],
  factor: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """Blends images with black.

  Args:
    images: pixels in [0, 1].
    factor: 0 for black, 1 for no change; one per image.

  Returns:
    Images in [0, 1].
  """
  return _blend(images, jnp.zeros_like(images), factor)


def contrast(
  images: Float[Array, "*batch height width 3"],
  factor: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """Blends images with the mean luma.

  Args:
    images: pixels in [0, 1].
    factor: 0 for flat gray, 1 for no change; one per image.

  Returns:
    Images in [0, 1].
  """
  mean = jnp.mean(_luma(images), axis=(-3, -2, -1), keepdims=True)
  return _blend(images, mean, factor)


def saturation(
  images: Float[Array, "*batch height width 3"],
  factor: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """Blends images with the luma.

  Args:
    images: pixels in [0, 1].
    factor: 0 for grayscale, 1 for no change; one per image.

  Returns:
    Images in [0, 1].
  """
  return _blend(images, _luma(images), factor)


def hue(
  images: Float[Array, "*batch height width 3"],
  factor: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """Rotates the hue of HSV; greys do not change.

  A channel has the maximum of the pixel within a sixth of the hue circle around
  its primary, the minimum from two sixths on, and is linear in between, which
  is HSV without its saturation.

  Args:
    images: pixels in [0, 1].
    factor: rotation in turns, one per image.

  Returns:
    Images in [0, 1].
  """
  red, green, blue = jnp.split(images, 3, axis=-1)
  most = jnp.max(images, axis=-1, keepdims=True)
  chroma = most - jnp.min(images, axis=-1, keepdims=True)
  divisor = jnp.where(chroma > 0, chroma, 1)
  sixths = jnp.where(
    most == red,
    (green - blue) / divisor,
    jnp.where(
      most == green,
      2 + (blue - red) / divisor,
      4 + (red - green) / divisor,
    ),
  )
  sixths = sixths + 6 * factor[..., None, None, None]

  def channel(primary):
    away = sixths - primary
    distance = jnp.abs(away - 6 * jnp.round(away / 6))
    return most - chroma * jnp.clip(distance - 1, 0, 1)

  return jnp.concatenate([channel(0), channel(2), channel(4)], axis=-1)


def color_jitter(
  image: Float[Array, "height width 3"],
  key: PRNGKeyArray,
  strengths: tuple[float, float, float, float],
) -> Float[Array, "height width 3"]:
  """Changes brightness, contrast, saturation and hue in a random order.

  This is torchvision's ColorJitter. Each of the four has its own draws, and the
  order of two does not change with the strength of a third.

  Args:
    image: one image in [0, 1].
    key: random key of this image.
    strengths: strengths of the four, as in `Options`, not all 0; a change of
      strength 0 is not traced.

  Returns:
    Image in [0, 1].
  """
  changes, places = [], []
  for stream, (change, x) in enumerate(
    zip((brightness, contrast, saturation, hue), strengths, strict=True)
  ):
    if x > 0:
      place, draw = jax.random.split(jax.random.fold_in(key, stream))
      low, high = (-x, x) if change is hue else (max(0.0, 1 - x), 1 + x)
      factor = jax.random.uniform(draw, (), image.dtype, low, high)
      changes.append(functools.partial(change, factor=factor))
      places.append(jax.random.uniform(place))
  for index in jnp.argsort(jnp.stack(places)):
    image = jax.lax.switch(index, changes, image)
  return image


def gaussian_blur(
  images: Float[Array, "*batch height width 3"],
  sigma: Float[Array, "*batch"],
  radius: int,
) -> Float[Array, "*batch height width 3"]:
  """Blurs with a Gaussian cut at `radius`; edges are mirrored.

  Args:
    images: pixels in [0, 1].
    sigma: standard deviations in pixels, above 0.
    radius: radius of the kernel, which is 2 * radius + 1 pixels wide.

  Returns:
    Blurred images.

  Raises:
    ValueError: a side is not longer than the radius.
  """
  height, width = images.shape[-3:-1]
  if min(height, width) <= radius:
    raise ValueError(
      f"a blur of radius {radius} mirrors the edges and needs sides of at "
      f"least {radius + 1} pixels, found {height} x {width}: enlarge the "
      "images or turn the blur off"
    )
  distance = jnp.arange(-radius, radius + 1, dtype=images.dtype)
  distance = distance.reshape((1,) * sigma.ndim + (-1,))
  weights = jax.nn.softmax(-((distance / sigma[..., None]) ** 2) / 2, axis=-1)
  sides = images.shape[-3:-1]
  images = _filtered(images, *(_filter(weights, s, "reflect") for s in sides))
  return jnp.minimum(images, 1)  # the weights sum to 1 within rounding only


def box_blur(
  images: Float[Array, "*batch height width 3"],
  sigma: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """Blurs as Pillow's GaussianBlur: by three boxes; edges are repeated.

  Args:
    images: pixels in [0, 1].
    sigma: standard deviations in pixels, at most 3.

  Returns:
    Blurred images, not rounded to levels after each box.

  References:
    Gwosdek et al., Theoretical Foundations of Gaussian Convolution by Extended
    Box Filtering, 2011.
  """
  variance = sigma**2 / BOXES
  whole = jnp.floor((jnp.sqrt(12 * variance + 1) - 1) / 2)
  part = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance)
  part = part / (6 * (variance - (whole + 1) ** 2))
  radius = whole + part
  # A box covers the pixels within its radius, and parts of the two after them.
  reach = np.arange(-BOX_REACH, BOX_REACH + 1)
  away = jnp.asarray(np.abs(reach), images.dtype)
  away = away.reshape((1,) * sigma.ndim + (-1,))
  weights = jnp.clip(radius[..., None] + 1 - away, 0, 1)
  weights = weights / (2 * radius[..., None] + 1)
  filters = [_filter(weights, side, "edge") for side in images.shape[-3:-1]]
  with jax.default_matmul_precision("highest"):
    thrice = [jnp.linalg.matrix_power(each, BOXES) for each in filters]
  return jnp.minimum(_filtered(images, *thrice), 1)


def solarize(
  images: Float[Array, "*batch height width 3"], threshold: float = 0.5
) -> Float[Array, "*batch height width 3"]:
  """Inverts values at or above a threshold.

  Args:
    images: pixels in [0, 1].
    threshold: smallest value to invert.

  Returns:
    Images in [0, 1].
  """
  return jnp.where(images >= threshold, 1 - images, images)


def _random_blur(
  form: str, image: Float[Array, "height width 3"], key: PRNGKeyArray
) -> Float[Array, "height width 3"]:
  """SimCLR's random sigma; its kernel is as wide as a tenth of the image."""
  sigma = jax.random.uniform(key, (), image.dtype, *SIGMA)
  if form == "boxes":
    return box_blur(image, sigma)
  radius = max(1, min(image.shape[:2]) // 20)
  return gaussian_blur(image, sigma, radius)


def _filter(
  weights: Float[Array, "*batch taps"],
  side: int,
  edges: Literal["edge", "reflect"],
) -> Float[Array, "*batch side side"]:
  """The matrix that correlates an axis with an odd number of weights.

  Filters that follow each other would be fused, and each pixel of the first be
  computed anew for every tap of the next; products of matrices are not.
  """
  taps = weights.shape[-1]
  padded = np.pad(np.arange(side), taps // 2, mode=edges)
  shifted = np.lib.stride_tricks.sliding_window_view(padded, side)
  shifts = jax.nn.one_hot(shifted, side, dtype=weights.dtype)
  return jnp.einsum("...t,tij->...ij", weights, shifts, precision="highest")


def _filtered(
  images: Float[Array, "*batch height width 3"],
  rows: Float[Array, "*batch height height"],
  columns: Float[Array, "*batch width width"],
) -> Float[Array, "*batch height width 3"]:
  """Filters both axes."""
  return jnp.einsum(
    "...ij,...kl,...jlc->...ikc", rows, columns, images, precision="highest"
  )


def _blend(
  images: Float[Array, "*batch height width 3"],
  others: Float[Array, "*batch _height _width _channels"],
  factor: Float[Array, "*batch"],
) -> Float[Array, "*batch height width 3"]:
  """`others` at factor 0, `images` at 1, beyond them above 1."""
  factor = factor[..., None, None, None]
  return jnp.clip(factor * images + (1 - factor) * others, 0, 1)


def _luma(
  images: Float[Array, "*batch height width 3"],
) -> Float[Array, "*batch height width 1"]:
  """0.299 red + 0.587 green + 0.114 blue; exactly x where all three are x."""
  red, green, blue = jnp.split(images, 3, axis=-1)
  return green + 0.299 * (red - green) + 0.114 * (blue - green)
