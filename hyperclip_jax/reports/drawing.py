"""A picture of the data with its boxes drawn, its caption and its phrases."""

from collections.abc import Sequence

import numpy as np

from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.reports.markup import (
  Markup,
  inline_image,
  note,
  shortened,
  tag,
)
from hyperclip_jax.reports.plots import LINES

Picture = np.ndarray  # uint8 (height, width, 3)

MOST = 40  # Parts that are shown.
# A number on a picture, as shares of the picture's width.
WIDE, HIGH = 0.08, 0.055


def drawn(
  picture: Picture, caption: str, parts: Sequence[tuple[str, Box | Picture]]
) -> list[Markup]:
  """The picture with numbered boxes, the caption, and the phrases they number.

  Args:
    picture: the whole image.
    caption: of the whole image.
    parts: each phrase with its box, or with a picture of its own, which is
      shown beside the phrase. The first MOST are shown.
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


def _free(
  x: float, y: float, high: float, taken: Sequence[tuple[float, float]]
) -> tuple[float, float]:
  """Where a box's number goes: above its corner, or else right of others."""
  x, y = min(x, 1 - WIDE), max(y - high, 0.0)
  # A picture full of numbers has no free place: the last one found will do.
  for _ in range(50):
    near = [a for a, b in taken if abs(a - x) < WIDE and abs(b - y) < high]
    if not near:
      break
    x = max(near) + WIDE * 1.001  # No rounding brings it back.
    if x > 1 - WIDE:
      x, y = 0.0, min(y + high, 1 - high)
  return x, y
