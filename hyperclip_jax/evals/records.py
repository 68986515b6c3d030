"""Reads grounded records for evaluation: whole images and one part of each."""

from typing import NamedTuple

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import WHOLE
from hyperclip_jax.data.records.images import Pixels
from hyperclip_jax.data.records.record import Part, Record, RecordError
from hyperclip_jax.data.records.shards import TarSource


class Row(NamedTuple):
  """A decoded record and the first of its parts.

  The whole image stands in for the part of a record without parts.

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

  @property
  def part(self) -> bool:
    """Whether the part differs from the whole image."""
    return any(p.crop or p.box != WHOLE for p in self.record.parts[:1])


class Bad(NamedTuple):
  """A record that cannot be read.

  Attributes:
    name: name of the record, for messages.
    reason: why it cannot be read.
  """

  name: str
  reason: str


def read(source: TarSource, number: int, upright: bool = False) -> Row | Bad:
  """Reads and decodes a record.

  Args:
    source: records to read from.
    number: index of the record in the source.
    upright: whether to turn images as their EXIF orientation says, like the
      config's `data.upright`.

  Returns:
    Decoded record, or the reason why it is left out.
  """
  try:
    record = source[number]
    whole = images.decode(record.image, upright=upright)
    parts = record.parts or (Part(record.caption, WHOLE),)
    part_image = parts[0].pixels(whole, upright)
  except (RecordError, images.ImageError, OSError) as error:
    return Bad(source.name(number), str(error))
  return Row(record, whole, part_image, parts[0].text)
