"""Samples: what the readers of foreign layouts hand to `prepare`.

A sample is as its source has it; whether it is any good is tested where it is
converted. What a reader itself must leave out is counted in a `Tally`.
"""

import collections
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

from hyperclip_jax.data.records import box_forms
from hyperclip_jax.data.records.box_forms import Found
from hyperclip_jax.data.records.boxes import Box

MAX_TEXT = 8192  # characters of a caption or phrase that are kept
MAX_TEXT_BYTES = 1 << 20
MAX_IMAGE_BYTES = 1 << 28

# Control characters, and halves of surrogate pairs, which UTF-8 cannot hold.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Phrase(NamedTuple):
  """A phrase as found, and its box in fractions of the image: any floats."""

  text: str
  box: Box


class Sample(NamedTuple):
  """A captioned image and its phrases, as found.

  Attributes:
    key: the record's name in its source.
    caption: any text.
    image: the bytes of an image file, any.
    phrases: in the order of the source, repeated ones too.
    crops: the bytes of an image file for each phrase, where the source has
      crops in place of boxes.
    size: width and height of the image that the boxes were measured on, where
      the source gave them in pixels.
    meta: what else the source says of the record.
  """

  key: str
  caption: str
  image: bytes
  phrases: tuple[Phrase, ...]
  crops: tuple[bytes, ...] | None = None
  size: tuple[float, float] | None = None
  meta: dict[str, Any] = {}  # noqa: RUF012


class Rejected(Exception):
  """A record that is left out; the message is the reason, to be counted."""


class BadInputError(ValueError):
  """An input that cannot be read to its end."""


class Tally:
  """How many records and boxes were left out, by reason.

  Attributes:
    records: reason -> records.
    boxes: reason -> boxes of records that were kept, or their phrases.
    examples: reason -> key of the first record left out for it.
    found: the first boxes, as they were found.
  """

  def __init__(self):
    self.found: list[Found] = []
    self.records = collections.Counter[str]()
    self.boxes = collections.Counter[str]()
    self.examples: dict[str, str] = {}

  def reject(self, reason: str, key: str) -> None:
    """Counts a record."""
    self.records[reason] += 1
    self.examples.setdefault(reason, key)

  def look(self, box: Sequence[float], size: tuple[float, float]) -> None:
    """Keeps one of the first boxes, to tell which form they have."""
    if len(self.found) < box_forms.ENOUGH:
      self.found.append(Found(box, size))


def normalise(text: str) -> str:
  """NFC, control characters to spaces, white space collapsed, at most 8192.

  Character offsets into a text hold for the text as found: slice first.
  """
  # Cut before NFC, which takes quadratic time over a run of combining marks.
  text = " ".join(_CONTROL.sub(" ", text).split())[:MAX_TEXT]
  return unicodedata.normalize("NFC", text)[:MAX_TEXT].strip()


def span(text: str, start: float, end: float) -> str | None:
  """The characters from start to end; None where these leave the text."""
  if not 0 <= start < end <= len(text):  # False for NaN, too
    return None
  return text[int(start) : int(end)]


def floats(values: Any, count: int) -> list[float] | None:
  """A list of so many numbers as floats; None if it is anything else."""
  if not isinstance(values, Sequence) or len(values) != count:
    return None
  found = []
  for value in values:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
      return None
    try:
      found.append(float(value))
    except OverflowError:
      found.append(math.inf)
  return found
