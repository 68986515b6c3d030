"""Draws emoji with the font of the machine, which brings its own licence."""

import contextlib
import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.ImageFont import FreeTypeFont

from hyperclip_jax.data.records.images import Pixels

# Fonts of Linux, macOS and Windows, and a size in which each has pictures.
FONTS = {
  "NotoColorEmoji.ttf": 109,
  "Apple Color Emoji.ttc": 160,
  "seguiemj.ttf": 109,
}
MARGIN = 0.06  # around the emoji, as a fraction of its longer side


@functools.cache
def fonts() -> list[FreeTypeFont]:
  """Lists the colour fonts of emoji that the machine has."""
  found = []
  for name, size in FONTS.items():
    with contextlib.suppress(OSError):
      found.append(ImageFont.truetype(name, size))
  return found


def draw(text: str) -> Pixels | None:
  """Draws an emoji on white.

  Args:
    text: one emoji, of one or more code points.

  Returns:
    uint8 pixels of a square (side, side, 3); None if the machine has no colour
    font of emoji, or the font lacks this one.
  """
  for font in fonts():
    left, top, right, bottom = map(int, font.getbbox(text))
    image = Image.new("RGBA", (right + left + 1, bottom + top + 1))
    ImageDraw.Draw(image).text((0, 0), text, "black", font, embedded_color=True)
    box = image.getchannel("A").getbbox()
    if box is None:
      continue
    emoji = image.crop(box)
    side = round((1 + 2 * MARGIN) * max(emoji.size))
    ground = Image.new("RGBA", (side, side), "white")
    left, top = ((side - length) // 2 for length in emoji.size)
    ground.alpha_composite(emoji, (left, top))
    return np.asarray(ground.convert("RGB"))
  return None
