"""Records: one captioned image and its parts, ready to be shown to a model.

How records come out of a shard's members is in `readers`, how they are cleaned
in `sample`. Images stay packed until somebody wants their pixels.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from absl import logging

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.images import Pixels


class RecordError(ValueError):
  """A record that is not as it should be.

  Attributes:
    reason: why, in few words that are counted.
  """

  def __init__(self, message: str, reason: str = ""):
    """Creates an error; its reason is the message if no other is given."""
    super().__init__(message)
    self.reason = reason or message


class Part(NamedTuple):
  """A phrase and where to see it.

  Attributes:
    text: the phrase.
    box: where it is, in fractions of the record's image, or of `crop`.
    crop: a picture stored for this part alone; None where the part is a box of
      the record's image.
  """

  text: str
  box: Box
  crop: bytes | None = None

  def pixels(self, whole: Pixels, upright: bool = False) -> Pixels:
    """The pixels of the part.

    Args:
      whole: the decoded image of the record.
      upright: turn a crop as its EXIF orientation says.

    Raises:
      ImageError: the crop cannot be decoded.
    """
    if self.crop is not None:
      whole = images.decode(self.crop, upright=upright)
    return images.crop(whole, self.box)


class Record(NamedTuple):
  """A captioned image and its parts.

  Attributes:
    key: the record's name in its shard.
    caption: the whole caption.
    image: the whole image as it is stored, a JPEG say.
    parts: at most one part a phrase; empty if no box is good enough.
    meta: the JSON of a raw record, the `meta` of a prepared one, else {}.
    left_out: reason -> boxes and phrases that did not become parts.
  """

  key: str
  caption: str
  image: bytes
  parts: tuple[Part, ...]
  meta: dict[str, Any]
  left_out: Mapping[str, int] = {}


class BoxWatch:
  """Warns once where the first records with boxes have no part at all."""

  RECORDS = 20

  def __init__(self):
    """Starts with no record seen."""
    self._records = self._parts = 0

  def see(self, record: Record, shard: str) -> None:
    """Counts a record; threads may lose a count, which does not matter."""
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
