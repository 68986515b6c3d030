"""Records: captioned images with their parts, cleaned for training.

`readers` makes samples of a shard's members, and `sample` cleans them to
records. Images stay encoded until their pixels are needed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.images import Pixels


class RecordError(ValueError):
  """A malformed record.

  Attributes:
    reason: short form of the message, under which errors are counted.
  """

  def __init__(self, message: str, reason: str = ""):
    """Creates an error.

    Args:
      message: full message.
      reason: short form of it; the message itself if empty.
    """
    super().__init__(message)
    self.reason = reason or message


class Part(NamedTuple):
  """A phrase with the region that it describes.

  Attributes:
    text: phrase.
    box: region as fractions of the record's image, or of `crop`.
    crop: encoded image stored for this part alone; None if the box refers to
      the record's image.
  """

  text: str
  box: Box
  crop: bytes | None = None

  def pixels(self, whole: Pixels, upright: bool = False) -> Pixels:
    """Returns the pixels of the part.

    Args:
      whole: decoded image of the record.
      upright: whether to turn a crop as its EXIF orientation says.

    Returns:
      uint8 pixels (height, width, 3).

    Raises:
      ImageError: the crop cannot be decoded.
    """
    if self.crop is not None:
      whole = images.decode(self.crop, upright=upright)
    return images.crop(whole, self.box)


class Record(NamedTuple):
  """A captioned image and its parts.

  Attributes:
    key: name of the record in its shard.
    caption: whole caption.
    image: encoded image, such as a JPEG.
    parts: at most one part for each phrase; empty if no box is good.
    meta: JSON of a raw record, `meta` of a prepared one, otherwise empty.
    left_out: reason -> number of boxes and phrases rejected.
  """

  key: str
  caption: str
  image: bytes
  parts: tuple[Part, ...]
  meta: dict[str, Any]
  left_out: Mapping[str, int] = {}


class BoxWatch:
  """Warns once if none of the first records with boxes has a part."""

  RECORDS = 20

  def __init__(self):
    """Starts without any records."""
    self._records = self._parts = 0

  def see(self, record: Record, shard: str) -> None:
    """Counts a record; threads may lose a count, which does not matter.

    Args:
      record: record that was read.
      shard: path of its shard, for the message.
    """
    if self._records >= self.RECORDS or not (record.parts or record.left_out):
      return
    self._records += 1
    self._parts += len(record.parts)
    if self._records == self.RECORDS and not self._parts:
      logging.warning(
        "%s: none of %d records with boxes has a part (the last: %s); boxes "
        "are fractions of the image, others need prepare (docs/data.md)",
        shard,
        self.RECORDS,
        ", ".join(f"{n} {reason}" for reason, n in record.left_out.items()),
      )
