"""Grounded records as evaluations read them: whole images and their parts."""

from typing import NamedTuple

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.record import Part, Record, RecordError
from hyperclip_jax.data.records.shards import TarSource


class Row(NamedTuple):
  """A record and the first of its parts, with pixels.

  A record without parts is its own part.

  Attributes:
    record: record as read.
    image: pixels of the whole image.
    box_image: pixels of the part.
    box_text: phrase of the part.
  """

  record: Record
  image: Pixels
  box_image: Pixels
  box_text: str


class Bad(NamedTuple):
  """A record that is left out, and why."""

  name: str
  reason: str


def read(source: TarSource, number: int, upright: bool = False) -> Row | Bad:
  """Reads and decodes a record.

  Args:
    source: records.
    number: place of the record in the source.
    upright: whether images are turned as their EXIF orientation says, as by
      `data.upright`.
  """
  try:
    record = source[number]
    whole = images.decode(record.image, upright=upright)
    parts = record.parts or (Part(record.caption, record.image, WHOLE),)
    part, own = parts[0], parts[0].image is not record.image
    image = images.decode(part.image, upright=upright) if own else whole
  except (RecordError, images.ImageError, OSError) as error:
    return Bad(source.name(number), str(error))
  return Row(record, whole, images.crop(image, part.box), part.text)
