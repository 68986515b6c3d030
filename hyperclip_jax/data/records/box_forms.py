"""Detects the units and the corner convention of a data set's boxes.

Nothing in a file says whether 0.5, 50 or 320 is the middle of an image, or
whether a box is given by two corners or by a corner and its size. Many boxes
together show it: read in the wrong form they leave the image, end before they
start, or all lie in one corner.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from hyperclip_jax.data.records.boxes import Box

UNITS = ("fractions", "percent", "thousandths", "pixels")
CORNERS, SIZES = "xyxy", "xywh"
LEAST = 10  # boxes needed to judge a form
ENOUGH = 1000  # boxes beyond which more do not help

_SLACK = 0.02  # by which boxes may leave the image, as a fraction of it
_NEARLY_ALL, _MOST, _NEARLY_NONE = 0.9, 0.7, 0.1  # shares of boxes


class Form(NamedTuple):
  """How the four numbers of a box are interpreted.

  Attributes:
    unit: one of `UNITS`.
    ends: "xyxy" for two corners, "xywh" for a corner, width and height.
  """

  unit: str = "fractions"
  ends: str = CORNERS


FORMS = tuple(
  itertools.starmap(Form, itertools.product(UNITS, (CORNERS, SIZES)))
)


class Found(NamedTuple):
  """A box as found, and the image to which it refers.

  Attributes:
    box: four numbers, finite or not.
    size: width and height of the image in pixels.
  """

  box: Sequence[float]
  size: tuple[float, float]


def fractions(found: Found, form: Form) -> Box:
  """Converts a box to fractions of its image.

  Args:
    found: box as found.
    form: how to interpret its numbers.

  Returns:
    x1, y1, x2, y2 as fractions of the image; any floats, not cleaned.
  """
  x1, y1, x2, y2 = (float(value) for value in found.box)
  width, height = _scale(form.unit, found.size)
  if form.ends == SIZES:
    x2, y2 = x1 + x2, y1 + y2
  return x1 / width, y1 / height, x2 / width, y2 / height


class Doubt(NamedTuple):
  """Evidence that boxes are not in a form.

  Attributes:
    reason: explanation in words.
    likelier: form that nearly all boxes fit, or None.
  """

  reason: str
  likelier: Form | None


def doubt(boxes: Sequence[Found], form: Form) -> Doubt | None:
  """Checks whether boxes fit a form, or another one better.

  Args:
    boxes: boxes of a data set; fewer than `LEAST` are not judged.
    form: form in which the boxes are to be read.

  Returns:
    Evidence against the form, or None if there is no strong evidence.
  """
  if len(boxes) < LEAST:
    return None
  fits = {each: _fit(boxes, each) for each in FORMS}
  share, area = fits[form]
  ends = _ends(boxes)
  best = max((f for f in FORMS if f.ends == ends), key=lambda f: fits[f])
  reason = (
    f"{share:.0%} of {len(boxes)} boxes lie in their images if read as "
    f"{form.unit} ({form.ends}), such as {[float(v) for v in boxes[0].box]}"
  )
  if best != form and fits[best][0] >= _NEARLY_ALL:
    # If all boxes lie in one corner, their unit is smaller.
    corner = form.unit != best.unit and area < fits[best][1] / 4
    if share < _MOST or corner:
      likelier = f"; they look like {best.unit} ({best.ends})"
      return Doubt(reason + likelier, best)
  return Doubt(reason, None) if share < _NEARLY_NONE else None


def _ends(boxes: Sequence[Found]) -> str:
  """Infers the corner convention: if they were sizes, many would be smaller."""
  numbers = np.array([found.box for found in boxes], float)
  ahead = (numbers[:, 2:] >= numbers[:, :2]).all(axis=1)
  return CORNERS if ahead.mean() > _NEARLY_ALL else SIZES


def _fit(boxes: Sequence[Found], form: Form) -> tuple[float, float]:
  """Returns the fraction of boxes valid in a form, and their mean area.

  If all boxes fit two forms, the form with the larger boxes is likelier.
  """
  read = np.array([fractions(found, form) for found in boxes])
  good = _in_image(read, np.array([found.size for found in boxes]))
  if not good.any():
    return 0.0, 0.0
  sides = read[good, 2:] - read[good, :2]
  # Rounded, because boxes at the edge may be inside in one form, not another.
  return round(float(good.mean()), 1), float(sides.prod(axis=1).mean())


def _in_image(
  read: Float64[np.ndarray, "boxes 4"], size: Float64[np.ndarray, "boxes 2"]
) -> Bool[np.ndarray, " boxes"]:
  """Selects boxes that lie in their images with sides of at least a pixel."""
  ends_inside = (read >= -_SLACK) & (read <= 1 + _SLACK)
  with np.errstate(invalid="ignore", over="ignore"):
    long = (read[:, 2:] - read[:, :2]) * size >= 1
  good = np.concatenate([ends_inside, long], axis=1)
  return np.asarray(good.all(axis=1))


def _scale(unit: str, size: tuple[float, float]) -> tuple[float, float]:
  """Returns the width and height of an image in a unit."""
  whole = {"fractions": 1.0, "percent": 100.0, "thousandths": 1000.0}.get(unit)
  return size if whole is None else (whole, whole)
