"""Boxes as fractions of the image, cleaned when records are read."""

import math
from collections.abc import Sequence

Box = tuple[float, float, float, float]

WHOLE: Box = (0.0, 0.0, 1.0, 1.0)


def clean(
  box: Sequence[float], width: float, height: float, min_side: int
) -> Box | None:
  """Clips a box to the image, and rejects it if it is not worth a crop.

  The official filter asks for an area above 32 x 32 pixels, which accepts boxes
  inverted on both axes, and slivers. This one asks for the length of each side.

  Args:
    box: x1, y1, x2, y2 as fractions of the image; any four floats.
    width: image width in pixels.
    height: image height in pixels.
    min_side: smallest side after clipping in pixels.

  Returns:
    Box with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1, or None if it is not
    finite, inverted, empty, outside of the image or too small.
  """
  if fault(box, width, height, min_side) is not None:
    return None
  return clipped(box)


def fault(
  box: Sequence[float], width: float, height: float, min_side: int
) -> str | None:
  """Names the fault for which `clean` rejects a box.

  Args:
    box: x1, y1, x2, y2 as fractions of the image; any four floats.
    width: image width in pixels.
    height: image height in pixels.
    min_side: smallest side after clipping in pixels.

  Returns:
    The fault in a few words, or None if the box is good.
  """
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
  """Returns the part of a box inside the image."""
  x1, y1, x2, y2 = (min(max(float(value), 0.0), 1.0) for value in box)
  return x1, y1, x2, y2
