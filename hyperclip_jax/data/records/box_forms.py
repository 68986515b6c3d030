"""The forms that boxes come in, and which of them a data set has.

Nothing in a file says whether 0.5, 50 or 320 is the middle of an image, or
whether a box ends with a corner or with its size. Many boxes together do: those
of another form leave the image, end before they start, or fill a corner of it.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from hyperclip_jax.data.records.boxes import Box

UNITS = ("fractions", "percent", "thousandths", "pixels")
CORNERS, SIZES = "xyxy", "xywh"
LEAST = 10  # boxes that say something
ENOUGH = 1000  # boxes that say all

_SLACK = 0.02  # that boxes may leave the image by
_NEARLY_ALL, _MOST, _NEARLY_NONE = 0.9, 0.7, 0.1  # shares of boxes


class Form(NamedTuple):
  """How the four numbers of a box are to be read.

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
  """A box as it was found, and the image that it was measured on.

  Attributes:
    box: four numbers, finite or not.
    size: width and height of the image in pixels.
  """

  box: Sequence[float]
  size: tuple[float, float]


def fractions(found: Found, form: Form) -> Box:
  """A box as x1, y1, x2, y2 in fractions of its image; any floats."""
  x1, y1, x2, y2 = (float(value) for value in found.box)
  width, height = _scale(form.unit, found.size)
  if form.ends == SIZES:
    x2, y2 = x1 + x2, y1 + y2
  return x1 / width, y1 / height, x2 / width, y2 / height


class Doubt(NamedTuple):
  """What speaks against a form.

  Attributes:
    reason: in words.
    likelier: the form that nearly all boxes fit; None if there is none.
  """

  reason: str
  likelier: Form | None


def doubt(boxes: Sequence[Found], form: Form) -> Doubt | None:
  """Compares a form with all others.

  Args:
    boxes: of a data set, any number; few say nothing.
    form: that they are to be read in.
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
    # All boxes in one corner are boxes in a smaller unit.
    corner = form.unit != best.unit and area < fits[best][1] / 4
    if share < _MOST or corner:
      likelier = f"; they look like {best.unit} ({best.ends})"
      return Doubt(reason + likelier, best)
  return Doubt(reason, None) if share < _NEARLY_NONE else None


def _ends(boxes: Sequence[Found]) -> str:
  """Corners if hardly a box ends before it starts: sizes often would."""
  numbers = np.array([found.box for found in boxes], float)
  ahead = (numbers[:, 2:] >= numbers[:, :2]).all(axis=1)
  return CORNERS if ahead.mean() > _NEARLY_ALL else SIZES


def _fit(boxes: Sequence[Found], form: Form) -> tuple[float, float]:
  """The share of boxes that are boxes in a form, and their mean area.

  Of two forms that all boxes fit, the one with the larger boxes is likelier.
  """
  read = np.array([fractions(found, form) for found in boxes])
  good = _in_image(read, np.array([found.size for found in boxes]))
  if not good.any():
    return 0.0, 0.0
  sides = read[good, 2:] - read[good, :2]
  # In steps: boxes that touch the edge are cut by one form, not by another.
  return round(float(good.mean()), 1), float(sides.prod(axis=1).mean())


def _in_image(
  read: Float64[np.ndarray, "boxes 4"], size: Float64[np.ndarray, "boxes 2"]
) -> Bool[np.ndarray, " boxes"]:
  """Which boxes lie in their images, and have a side of a pixel at least."""
  ends_inside = (read >= -_SLACK) & (read <= 1 + _SLACK)
  with np.errstate(invalid="ignore", over="ignore"):
    long = (read[:, 2:] - read[:, :2]) * size >= 1
  good = np.concatenate([ends_inside, long], axis=1)
  return np.asarray(good.all(axis=1))


def _scale(unit: str, size: tuple[float, float]) -> tuple[float, float]:
  """What the width and the height of an image are in a unit."""
  whole = {"fractions": 1.0, "percent": 100.0, "thousandths": 1000.0}.get(unit)
  return size if whole is None else (whole, whole)
