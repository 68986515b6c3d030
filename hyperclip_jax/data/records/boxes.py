"""Boxes: fractions of the image, cleaned once where records are read."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def clean(
  box: Sequence[float], width: float, height: float, min_side: int
) -> Box | None:
  """Clips a box to the image; None if it is not worth a crop.

  The official filter asks for an area above 32 x 32 pixels, which lets a box
  inverted on both axes through, and slivers too. This one asks for each side.

  Args:
    box: x1, y1, x2, y2 as fractions of the image; any four floats.
    width: image width in pixels.
    height: image height in pixels.
    min_side: smallest side in pixels that is kept, after clipping.

  Returns:
    The box with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1, or None if it is not
    finite, inverted, empty, outside of the image or too small.
  """
  if fault(box, width, height, min_side) is not None:
    return None
  return clipped(box)


def fault(
  box: Sequence[float], width: float, height: float, min_side: int
) -> str | None:
  """Why `clean` gives None for a box; None for a good one."""
  if not all(math.isfinite(value) for value in box):
    return "box not finite"
  if box[0] > box[2] or box[1] > box[3]:
    return "box inverted"
  if box[0] >= 1 or box[1] >= 1 or box[2] <= 0 or box[3] <= 0:
    return "box outside"
  x1, y1, x2, y2 = clipped(box)
  if x1 == x2 or y1 == y2:
    return "box too small"
  if (x2 - x1) * width < min_side or (y2 - y1) * height < min_side:
    return "box too small"
  return None


def clipped(box: Sequence[float]) -> Box:
  """The part of a box that is inside of the image."""
  x1, y1, x2, y2 = (min(max(float(value), 0.0), 1.0) for value in box)
  return x1, y1, x2, y2
