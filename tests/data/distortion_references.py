"""Images, and what distortions of them must give, in float64."""

import colorsys
import itertools

import jax.numpy as jnp
import numpy as np

# A few roundings of values in [0, 1], each half of 2**-24 to 2**-23.
ROUNDING = 1e-6


def photo(height=24, width=28):
  """8-bit noise next to smooth colours, primaries, grays, black and white."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
  y, x = np.mgrid[:height, : width // 2]
  image[:, : width // 2] = np.stack([9 * x, 9 * y, 200 - 3 * x - y], -1)
  for row, color in enumerate(itertools.product((0, 255), repeat=3)):
    image[row, :3] = color
  image[8:12, :4] = np.arange(4, dtype=np.uint8)[:, None, None] * 80
  return image


def unit(image):
  return jnp.asarray(np.asarray(image, np.float32) / 255)[None]


def repeated(image, count):
  return np.broadcast_to(np.asarray(unit(image)), (count, *image.shape))


def luma(image):
  return image @ np.array([0.299, 0.587, 0.114])


def blend(image, other, factor):
  factor = np.asarray(factor)[..., None, None, None]
  return np.clip(factor * image + (1 - factor) * other, 0, 1)


def brightness(image, factor):
  return blend(image, 0, factor)


def contrast(image, factor):
  mean = luma(image).mean((-2, -1))[..., None, None, None]
  return blend(image, mean, factor)


def saturation(image, factor):
  return blend(image, luma(image)[..., None], factor)


def hue(image, factor):
  factor = np.asarray(factor)[..., None, None]
  h, s, v = np.vectorize(colorsys.rgb_to_hsv)(*np.moveaxis(image, -1, 0))
  turned = np.vectorize(colorsys.hsv_to_rgb)((h + factor) % 1, s, v)
  return np.stack(turned, -1)


JITTERS = {
  "brightness": brightness,
  "contrast": contrast,
  "saturation": saturation,
  "hue": hue,
}
