"""Converts images of any colour mode to 8-bit RGB."""

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

MAX_PIXELS = 50_000_000


class ImageError(ValueError):
  """Bytes that are not an image, or an image that is too large."""


class TooLargeError(ImageError):
  """An image of more than `MAX_PIXELS`."""


def check_size(width: int, height: int) -> int:
  """Checks the size of an image.

  Args:
    width: width in pixels.
    height: height in pixels.

  Returns:
    Number of pixels.

  Raises:
    ValueError: there are no pixels.
    TooLargeError: there are more than `MAX_PIXELS`.
  """
  if width < 1 or height < 1:
    raise ValueError(f"an image of {width} x {height} pixels is empty")
  if width * height > MAX_PIXELS:
    raise TooLargeError(
      f"image of {width} x {height} pixels; the most is {MAX_PIXELS:,} in all"
    )
  return width * height


def to_rgb(image: Image.Image) -> Image.Image:
  """Converts an image to RGB: transparency onto white, wide greys scaled.

  Greys of more than 8 bits do not define white, so the range of values does:
  integers up to 255 are taken for 8-bit, up to 65,535 for 16-bit, whatever the
  mode; floats up to 1 for fractions of white, and others like integers.

  Args:
    image: image of any mode.

  Returns:
    Image of mode RGB.

  Raises:
    ValueError: the image is empty.
    ImageError: greys are negative, above 65,535 or not finite.
  """
  check_size(*image.size)
  if image.mode == "F" or image.mode.startswith("I"):
    return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
  if image.has_transparency_data:
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    image = Image.alpha_composite(white, image)
  return image.convert("RGB")


def _eight_bits(
  grey: Shaped[np.ndarray, "height width"],
) -> UInt8[np.ndarray, "height width"]:
  """Scales greys to 8 bits; see `to_rgb`."""
  least, most = grey.min(), grey.max()
  if not 0 <= least <= most <= 65_535:  # False for NaN, too
    raise ImageError(
      f"greys from {least} to {most}: want whole numbers from 0 to 255 or to "
      "65,535, or fractions from 0 to 1; scale them"
    )
  if most > 255:  # Pillow's own conversion clips here
    return (grey.astype(np.uint16) >> 8).astype(np.uint8)
  if grey.dtype.kind == "f":
    grey = np.rint(grey * 255 if most <= 1 else grey)
  return grey.astype(np.uint8)
