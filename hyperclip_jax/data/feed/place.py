"""Decodes pictures into the rows of a batch."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from hyperclip_jax.data.feed.buffers import Buffers
from hyperclip_jax.data.feed.views import Shown, Views
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.record import Record


class Pictures(NamedTuple):
  """Arrays for the pictures of a view.

  Attributes:
    pixels: uint8 (rows, canvas, canvas, 3).
    region: float32 (rows, 4), x0, y0, x1, y1 of a picture on its canvas.
    count: rows of an example.
  """

  pixels: np.ndarray
  region: np.ndarray
  count: int


class Form(NamedTuple):
  """Layout of pictures on their canvases.

  Attributes:
    canvas: side of a canvas in pixels.
    white_border: whether to pad pictures to squares with white.
    upright: whether to rotate images by their EXIF orientation; boxes then
      refer to the rotated image.
  """

  canvas: int
  white_border: bool = False
  upright: bool = False


def room(
  views: Views, examples: int, canvas: int, buffers: Buffers
) -> dict[str, Pictures]:
  """Allocates arrays for each view that decodes its own pictures.

  Args:
    views: views of the batch.
    examples: number of examples.
    canvas: side of a canvas in pixels.
    buffers: memory to reuse.

  Returns:
    Arrays by view, not yet filled.
  """
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
  """Decodes the parts shown of a record into the rows of an example.

  Args:
    record: record of the example.
    shown: parts of the record, by view.
    pictures: arrays to fill.
    example: number of the example in the batch.
    form: layout of pictures on their canvases.

  Raises:
    ImageError: a picture cannot be decoded.
  """
  # A picture that is shown once and in full may be reduced while decoding;
  # boxes are cropped from the full size.
  alone = [len(shown[name].parts) for name in pictures] == [1]
  image = None
  for name, (pixels, region, count) in pictures.items():
    row = first = example * count
    for row, part in enumerate(shown[name].parts, first):
      canvas, whole = pixels[row], part.box == WHOLE
      least = form.canvas if alone and whole else 0
      # A box is cropped first, so the image is not decoded into its canvas.
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
    if row + 1 < first + count:  # rows to fill
      for rows in (pixels, region):
        rows[row + 1 : first + count] = rows[row]


def encoded(
  record: Record, shown: Mapping[str, Shown], views: Views
) -> set[bytes]:
  """Lists the images that `place` decodes.

  Args:
    record: record of an example.
    shown: parts of the record, by view.
    views: views of the batch.

  Returns:
    Encoded images.
  """
  crops = [
    part.crop
    for name, view in views.items()
    if view.crop is not None and view.canvas is None
    for part in shown[name].parts
  ]
  return {record.image if crop is None else crop for crop in crops}
