"""Draws emoji with the font of the machine, which brings its own licence."""

import contextlib
import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features
from PIL.ImageFont import FreeTypeFont

from hyperclip_jax.data.emoji import scenes
from hyperclip_jax.data.records.images import Pixels

# Fonts of Linux and macOS, and a size in which each has pictures.
FONTS = {"NotoColorEmoji.ttf": 109, "Apple Color Emoji.ttc": 160}
MARGIN = 0.06  # around the emoji, as a fraction of its longer side
STYLE = "\ufe0f"  # asks for the coloured form of the character before it
NOBODY = "\U0010ffff"  # a character that no font has


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
    font of emoji, the font lacks this one, or it is a sequence and Pillow was
    built without libraqm, which joins them.
  """
  text = text.replace(STYLE, "")
  if len(text) > 1 and not features.check("raqm"):
    return None
  for font in fonts():
    emoji = _glyph(font, text)
    if emoji is None or emoji == _glyph(font, NOBODY):
      continue
    return np.asarray(scenes.on_white(emoji, MARGIN))
  return None


def _glyph(font: FreeTypeFont, text: str) -> Image.Image | None:
  """Draws what is not transparent; None if nothing is."""
  left, top, right, bottom = map(int, font.getbbox(text))
  image = Image.new("RGBA", (right - left + 2, bottom - top + 2))
  ImageDraw.Draw(image).text(
    (-left, -top), text, "black", font, embedded_color=True
  )
  box = image.getchannel("A").getbbox()
  return image.crop(box) if box else None
