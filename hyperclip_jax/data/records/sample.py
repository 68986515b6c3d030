"""Samples: records as found in their source, and how they are cleaned.

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
  """How to interpret boxes, where a layout leaves that open.

  Attributes:
    min_side: smallest side of a box in pixels of the stored image.
    form: units and corner convention of the boxes.
    upright: whether boxes refer to the image turned as its EXIF orientation
      says.
  """

  min_side: int = 32
  form: Form = Form()
  upright: bool = False


class Sample(NamedTuple):
  """A captioned image and its phrases, as found.

  Attributes:
    key: name of the record in its source.
    caption: any text.
    image: bytes of any image file.
    parts: phrases in the order of the source, including repeated ones; boxes as
      found, any floats.
    size: width and height of the image to which boxes refer, if known.
    tested: whether boxes are fractions that were checked when written.
    meta: other fields of the record.
    left_out: reason -> number of rows that are not a part.
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
    """Returns the boxes as found; none if their form is already known.

    Args:
      upright: whether they refer to the image turned as EXIF says.
    """
    if self.tested or not self.parts:
      return []
    size = self.size or _stored(self.image, upright)
    return [
      Found(part.box, size) for part in self.parts if max(size) < math.inf
    ]


def cleaned(sample: Sample, where: str, reading: Reading) -> Record:
  """Cleans a sample to a record: texts normalised, one good box per phrase.

  Of several boxes of one phrase the first good one is kept. Rejected boxes and
  phrases are counted.

  Args:
    sample: sample as found.
    where: shard and key, for messages.
    reading: how to interpret its boxes.

  Returns:
    Record with at most `MAX_PARTS` parts.

  Raises:
    RecordError: the caption is blank, or boxes in pixels refer to an image of
      another aspect ratio.
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
      problem = f"{size} pixels, but boxes refer to {measured}"
      fields.fail(where, "image", problem, "image of another shape")
    parts = [_in_fractions(part, measured, reading.form) for part in parts]
  good = tuple(_good(parts, size, min_side, left_out))
  return Record(sample.key, caption, sample.image, good, sample.meta, left_out)


def _in_fractions(part: Part, measured: Size, form: Form) -> Part:
  """Converts the box of a part to fractions."""
  if form == Form():
    return part
  box = box_forms.fractions(Found(part.box, measured), form)
  return part._replace(box=box)


def _good(
  parts: Iterable[Part], size: Size, min_side: int, left_out: Counter[str]
) -> Iterator[Part]:
  """Yields one part for each distinct phrase, with its first good box.

  Args:
    parts: parts as found, with boxes in fractions of the image, any floats.
    size: size of the image in pixels.
    min_side: smallest side of a box in pixels.
    left_out: counts by reason, which are increased.
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
  """Returns the size of an image; infinite if its header is damaged.

  The fault will be reported when the image is decoded.
  """
  try:
    width, height = images.size(image, upright)
  except images.ImageError:
    return math.inf, math.inf
  return float(width), float(height)


def _alike(measured: Size, stored: Size) -> bool:
  """Checks whether two sizes have the same aspect ratio, up to rounding.

  In an image that was turned or cropped, boxes are no longer in place.
  """
  if math.inf in stored:
    return True
  scale = max(stored) / max(measured)
  return all(
    abs(n * scale - found) <= 1.0
    for n, found in zip(measured, stored, strict=True)
  )
