"""Samples: records as their source has them, and how they are cleaned.

Training and `prepare` read the same samples and clean them by the same rules,
so a shard gives the same records before and after it is prepared.
"""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hyperclip_jax.data.records import box_forms, boxes, fields, images, texts
from hyperclip_jax.data.records.box_forms import Form, Found
from hyperclip_jax.data.records.record import Part, Record

MAX_PARTS = 1000  # a part's number has three digits

Size = tuple[float, float]  # width and height in pixels


class Reading(NamedTuple):
  """How boxes are read, where a layout leaves that open.

  Attributes:
    min_side: smallest side of a box in pixels of the image as it is stored.
    form: of the boxes.
    upright: boxes were measured on the image turned as its EXIF orientation
      says.
  """

  min_side: int = 32
  form: Form = Form()
  upright: bool = False


class Sample(NamedTuple):
  """A captioned image and its phrases, as found.

  Attributes:
    key: the record's name in its source.
    caption: any text.
    image: the bytes of an image file, any.
    parts: in the order of the source, repeated phrases too; boxes in the form
      that they are found in, any floats.
    size: width and height of the image that the boxes were measured on, where
      the source says it.
    tested: whether boxes are fractions that were tested when they were written.
    meta: what else the source says of the record.
    left_out: reason -> rows that are no part.
  """

  key: str
  caption: str
  image: bytes
  parts: tuple[Part, ...] = ()
  size: Size | None = None
  tested: bool = False
  meta: dict[str, Any] = {}  # noqa: RUF012
  left_out: Mapping[str, int] = {}

  def found(self, upright: bool = False) -> list[Found]:
    """The boxes as they were found; [] where nothing is left open of them.

    Args:
      upright: they were measured on the image turned as EXIF says.
    """
    if self.tested or not self.parts:
      return []
    size = self.size or _stored(self.image, upright)
    return [
      Found(part.box, size) for part in self.parts if max(size) < math.inf
    ]


def cleaned(sample: Sample, where: str, reading: Reading) -> Record:
  """The record of a sample: texts normalised, one good box a phrase.

  Of the boxes of one phrase the first good one wins: they are cleaned before
  they are told apart. Boxes and phrases that are no good are counted.

  Args:
    sample: what was found.
    where: shard and key, for messages.
    reading: how its boxes are read.

  Raises:
    RecordError: the caption is blank, or boxes in pixels were measured on an
      image of another shape.
  """
  caption = texts.normalise(sample.caption)
  if not caption:
    problem = f"found {fields.shown(sample.caption)}, want a text"
    fields.fail(where, "caption", problem, "no caption")
  parts, left_out = sample.parts, Counter(sample.left_out)
  size, min_side = (math.inf, math.inf), 0
  if parts and not sample.tested:
    size, min_side = _stored(sample.image, reading.upright), reading.min_side
    measured = sample.size or size
    if reading.form.unit == "pixels" and not _alike(measured, size):
      problem = f"{size} pixels, boxes were measured on {measured}"
      fields.fail(where, "image", problem, "image of another shape")
    parts = [_in_fractions(part, measured, reading.form) for part in parts]
  good = tuple(_good(parts, size, min_side, left_out))
  return Record(sample.key, caption, sample.image, good, sample.meta, left_out)


def _in_fractions(part: Part, measured: Size, form: Form) -> Part:
  """A part whose box was in another form."""
  if form == Form():
    return part
  box = box_forms.fractions(Found(part.box, measured), form)
  return part._replace(box=box)


def _good(
  parts: Iterable[Part], size: Size, min_side: int, left_out: Counter[str]
) -> Iterator[Part]:
  """Yields one part for each distinct phrase: that of its first good box.

  Args:
    parts: as found, with boxes in fractions of the image, any floats.
    size: of the image in pixels.
    min_side: smallest side of a box in pixels.
    left_out: reason -> phrases; counted up.
  """
  seen: set[str] = set()
  for part in parts:
    text = texts.normalise(part.text)
    fault = boxes.fault(part.box, *size, min_side)
    if not text:
      fault = "phrase empty"
    elif fault is None and text in seen:
      fault = "phrase repeated"
    elif fault is None and len(seen) == MAX_PARTS:
      fault = "too many parts"
    if fault is None:
      seen.add(text)
      yield Part(text, boxes.clipped(part.box), part.crop)
    else:
      left_out[fault] += 1


def _stored(image: bytes, upright: bool) -> Size:
  """The size of an image; infinite if its header is broken.

  Who decodes it finds out what is wrong with it.
  """
  try:
    width, height = images.size(image, upright)
  except images.ImageError:
    return math.inf, math.inf
  return float(width), float(height)


def _alike(measured: Size, stored: Size) -> bool:
  """Whether an image may be a scaled one of the other size, up to rounding.

  In one that was turned or cut since, the boxes are no longer where they were.
  """
  if math.inf in stored:
    return True
  scale = max(stored) / max(measured)
  return all(
    abs(n * scale - found) <= 1.0
    for n, found in zip(measured, stored, strict=True)
  )
