"""Pictures: the rows of a batch that decoded pictures are placed in."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hyperclip_jax.data.feed.buffers import Buffers
from hyperclip_jax.data.feed.views import Shown, Views
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Record


class Pictures(NamedTuple):
  """Room for the pictures of a view.

  Attributes:
    pixels: uint8 (rows, canvas, canvas, 3).
    region: float32 (rows, 4), where a picture lies on its canvas.
    count: rows an example.
  """

  pixels: np.ndarray
  region: np.ndarray
  count: int


class Form(NamedTuple):
  """How pictures are laid on their canvases.

  Attributes:
    canvas: side of a canvas in pixels.
    white_border: pad pictures to squares with white.
    upright: turn images as EXIF says; boxes refer to them so.
  """

  canvas: int
  white_border: bool = False
  upright: bool = False


def room(
  views: Views, examples: int, canvas: int, buffers: Buffers
) -> dict[str, Pictures]:
  """Room for the pictures of a batch, for each view that decodes its own."""
  found = {}
  for name, view in views.items():
    if view.crop is not None and view.canvas is None:
      rows = examples * view.count
      pixels = buffers.empty((rows, canvas, canvas, 3), np.uint8)
      region = np.empty((rows, 4), np.float32)
      found[name] = Pictures(pixels, region, view.count)
  return found


def place(
  record: Record,
  shown: Mapping[str, Shown],
  pictures: Mapping[str, Pictures],
  example: int,
  form: Form,
) -> None:
  """Decodes what is shown of a record into the rows of an example.

  Raises:
    ImageError: a picture that is shown is bad.
  """
  # What is seen once and whole may be shrunk while it is decoded; boxes are cut
  # from the full size.
  alone = [len(shown[name].parts) for name in pictures] == [1]
  image = None
  for name, (pixels, region, count) in pictures.items():
    row = first = example * count
    for row, part in enumerate(shown[name].parts, first):
      canvas, whole = pixels[row], part.box == WHOLE
      least = form.canvas if alone and whole else 0
      # A box is cut out elsewhere: its canvas must not lie under the image.
      into = canvas if whole else None
      if part.crop is not None:
        found = images.decode(part.crop, least, into, form.upright)
      elif image is not None:
        found = image
      else:
        found = image = images.decode(record.image, least, into, form.upright)
      if not whole:
        found = images.crop(found, part.box)
      region[row] = images.fit(found, canvas, form.white_border)
    if row + 1 < first + count:  # what fills up
      for rows in (pixels, region):
        rows[row + 1 : first + count] = rows[row]


def encoded(
  record: Record, shown: Mapping[str, Shown], views: Views
) -> set[bytes]:
  """The images that `place` decodes."""
  crops = [
    part.crop
    for name, view in views.items()
    if view.crop is not None and view.canvas is None
    for part in shown[name].parts
  ]
  return {record.image if crop is None else crop for crop in crops}
