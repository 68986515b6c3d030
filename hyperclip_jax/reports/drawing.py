"""Draws a picture with its boxes, caption and phrases as HTML."""

import contextlib
from collections.abc import Sequence

import numpy as np

from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.data.records.record import Record
from hyperclip_jax.reports.markup import (
  Markup,
  inline_image,
  note,
  shortened,
  tag,
)
from hyperclip_jax.reports.plots import LINES

Picture = np.ndarray  # uint8 (height, width, 3)

MOST = 40  # parts to show
# Size of a number on a picture, as a fraction of the picture's width.
WIDE, HIGH = 0.08, 0.055


def drawn(
  picture: Picture, caption: str, parts: Sequence[tuple[str, Box | Picture]]
) -> list[Markup]:
  """Draws a picture with numbered boxes, its caption, and a list of phrases.

  Args:
    picture: pixels of the full image.
    caption: caption of the full image.
    parts: (phrase, box or crop) of each part; a crop is shown beside its
      phrase. The first MOST parts are shown.

  Returns:
    HTML elements, in order.
  """
  height, width, _ = picture.shape
  frames, numbers, phrases, taken = [], [], [], []
  for i, (text, where) in enumerate(parts[:MOST]):
    colour = f"--c:{LINES[i % len(LINES)]}"
    crop = []
    if isinstance(where, tuple):
      x1, y1, x2, y2 = where
      place = f"left:{x1:.2%};top:{y1:.2%};width:{x2 - x1:.2%};"
      place += f"height:{y2 - y1:.2%};{colour}"
      frames.append(tag("i", style=place))
      x, y = _free(x1, y1, min(1.0, HIGH * width / height), taken)
      taken.append((x, y))
      place = f"left:{x:.2%};top:{y:.2%};{colour}"
      numbers.append(tag("b", str(i + 1), style=place))
    else:
      crop = [inline_image(where, shortened(text))]
    phrase = tag("span", shortened(text))
    phrases.append(tag("li", *crop, phrase, style=colour))
  caption = shortened(caption)
  more = [note(f"and {len(parts) - MOST:,} more")] if parts[MOST:] else []
  return [
    tag("div", inline_image(picture, caption), *frames, *numbers, cls="boxes"),
    tag("p", caption),
    tag("ol", *phrases, cls="phrases"),
    *more,
  ]


def located(
  record: Record, whole: Picture, upright: bool = False
) -> list[tuple[str, Box | Picture]]:
  """Lists the parts of a record for `drawn`.

  Parts whose stored crop cannot be decoded are left out.

  Args:
    record: record with its parts.
    whole: decoded image of the record.
    upright: whether to turn crops as their EXIF orientation says.

  Returns:
    Phrase of each part with its box in the image, or with its stored crop.
  """
  found = []
  for part in record.parts:
    if part.crop is None:
      found.append((part.text, part.box))
    else:
      with contextlib.suppress(ImageError):
        found.append((part.text, part.pixels(whole, upright)))
  return found


def _free(
  x: float, y: float, high: float, taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
  """Places the number of a box above its corner, or to the right of others."""
  x, y = min(x, 1 - WIDE), max(y - high, 0.0)
  # a crowded picture may have no free place: the last one tried is used
  for _ in range(50):
    near = [a for a, b in taken if abs(a - x) < WIDE and abs(b - y) < high]
    if not near:
      break
    x = max(near) + WIDE * 1.001  # avoids rounding errors
    if x > 1 - WIDE:
      x, y = 0.0, min(y + high, 1 - high)
  return x, y
