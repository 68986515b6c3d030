"""Draws examples of a run's data for its boards: boxes, phrases, captions."""

import textwrap

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from hyperclip_jax.data.records.record import Record
from hyperclip_jax.evals.held_out import Sample
from hyperclip_jax.files import shown

COUNT = 8
SIDE = 320  # width of a picture in pixels
# Okabe and Ito's colours, which colour-blind readers can tell apart.
COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#d55e00", "#cc79a7")
LINE, COLUMNS, LINES = 14, 50, 3  # height and number of lines of text


def examples(data: Sample) -> dict[str, UInt8[np.ndarray, "h w 3"]]:
  """Draws the first records of a sample.

  Args:
    data: records to evaluate on.

  Returns:
    Name -> pixels, with the caption and the phrases below.
  """
  rows = zip(data.image[:COUNT], data.records[:COUNT], strict=True)
  return {
    f"examples/{data.name}_{i}": draw(image, record)
    for i, (image, record) in enumerate(rows)
  }


def draw(
  pixels: UInt8[np.ndarray, "h w 3"], record: Record
) -> UInt8[np.ndarray, "height width 3"]:
  """Draws the boxes of a record into its image, and its texts below.

  Args:
    pixels: image of the record.
    record: record; parts with crops of their own have no box to draw.

  Returns:
    Pixels, SIDE wide.
  """
  high, wide, _ = pixels.shape
  height = max(1, min(2 * SIDE, round(SIDE * high / wide)))
  image = Image.fromarray(pixels).resize((SIDE, height))
  parts = [part for part in record.parts if part.crop is None][: len(COLOURS)]
  texts = [("black", shown(record.caption)), *_phrases(parts)]
  lines = [
    (colour, line)
    for colour, text in texts
    for line in textwrap.wrap(text, COLUMNS)[:LINES]
  ]
  page = Image.new("RGB", (SIDE, height + LINE * len(lines) + 4), "white")
  page.paste(image)
  pen = ImageDraw.Draw(page)
  for colour, part in zip(COLOURS, parts, strict=False):
    x1, y1, x2, y2 = part.box
    corners = (x1 * SIDE, y1 * height, x2 * SIDE - 1, y2 * height - 1)
    left, top, right, bottom = corners
    pen.rectangle(
      (left, top, max(left, right), max(top, bottom)), outline=colour, width=3
    )
  for i, (colour, line) in enumerate(lines):
    top = height + 2 + LINE * i
    if colour != "black":
      pen.rectangle((2, top + 2, 8, top + LINE - 4), fill=colour)
    pen.text((12, top), line, fill="black")
  return np.asarray(page)


def _phrases(parts: list) -> list[tuple[str, str]]:
  return [
    (colour, shown(part.text))
    for colour, part in zip(COLOURS, parts, strict=False)
  ]
