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
  if not all(math.isfinite(value) for value in box):
    return None
  x1, y1, x2, y2 = (min(max(float(value), 0.0), 1.0) for value in box)
  if x1 >= x2 or y1 >= y2:
    return None
  if (x2 - x1) * width < min_side or (y2 - y1) * height < min_side:
    return None
  return x1, y1, x2, y2
