"""What a sample of a source's records holds, counted.

Bad records are counted and named, never fatal. Tallies of whole numbers hold
the rest, so memory grows with the sample's phrases and not with the source.
"""

import dataclasses
import math
import os
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from hyperclip_jax.data.feed import tokenizer
from hyperclip_jax.data.feed.tokenizer import Tokenizer
from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.reports.tallies import Tally

NAMED = 20  # Bad records whose names are kept.
CHUNK = 512  # Records in flight.
MOST_TOKENS = 1024  # Longer texts count as this long.
OCTAVE = 12  # Steps of the tally of aspect ratios to a factor of two.

BAD = {
  RecordError: "malformed texts",
  ImageError: "broken image",
  OSError: "unreadable bytes",
}


class Measures(NamedTuple):
  """One record. Lengths are in tokens, the start and end tokens counted.

  Attributes:
    size: width and height of the image in pixels.
    caption: length of the caption.
    phrases: of the parts, cleaned as the tokenizer does.
    lengths: of the phrases.
    boxes: of the parts whose box lies in the image.
    left_out: reason -> boxes and phrases that did not become parts.
  """

  size: tuple[int, int]
  caption: int
  phrases: Sequence[str]
  lengths: Sequence[int]
  boxes: Sequence[tuple[float, float, float, float]]
  left_out: Mapping[str, int] = {}


@dataclasses.dataclass
class Census:
  """The counts.

  Attributes:
    total: records of the source.
    records: good records that were counted.
    bad: bad ones, by what is wrong with them.
    named: what is wrong with the first of them, by name.
    left_out: boxes and phrases of good records that are no parts, by reason.
    parts: of each record.
    caption_tokens: of each caption.
    phrase_tokens: of each part's phrase.
    phrases: how often each phrase was seen, as the tokenizer cleans it.
    image_widths: in pixels; likewise `image_heights`.
    box_widths: in pixels of the image, rounded; likewise `box_heights`. Of
      parts whose box lies in the image: others have a picture of their own.
    box_areas: percent of the image, rounded down.
    box_aspects: log2 of width / height, in steps of 1 / OCTAVE.
  """

  total: int
  records: int = 0
  bad: Counter[str] = dataclasses.field(default_factory=Counter)
  named: list[str] = dataclasses.field(default_factory=list)
  left_out: Counter[str] = dataclasses.field(default_factory=Counter)
  parts: Tally = dataclasses.field(default_factory=Counter)
  caption_tokens: Tally = dataclasses.field(default_factory=Counter)
  phrase_tokens: Tally = dataclasses.field(default_factory=Counter)
  phrases: Counter[str] = dataclasses.field(default_factory=Counter)
  image_widths: Tally = dataclasses.field(default_factory=Counter)
  image_heights: Tally = dataclasses.field(default_factory=Counter)
  box_widths: Tally = dataclasses.field(default_factory=Counter)
  box_heights: Tally = dataclasses.field(default_factory=Counter)
  box_areas: Tally = dataclasses.field(default_factory=Counter)
  box_aspects: Tally = dataclasses.field(default_factory=Counter)

  @property
  def sampled(self) -> int:
    """Records looked at, good and bad."""
    return self.records + self.bad.total()

  def add(self, seen: Measures) -> None:
    """Counts a good record."""
    self.records += 1
    width, height = seen.size
    self.image_widths[width] += 1
    self.image_heights[height] += 1
    self.parts[len(seen.phrases)] += 1
    self.left_out.update(seen.left_out)
    self.caption_tokens[seen.caption] += 1
    self.phrase_tokens.update(seen.lengths)
    self.phrases.update(seen.phrases)
    for x1, y1, x2, y2 in seen.boxes:
      w, h = (x2 - x1) * width, (y2 - y1) * height
      self.box_widths[round(w)] += 1
      self.box_heights[round(h)] += 1
      # The slack keeps 0.29 * 100 = 28.999999999999996 at 29.
      self.box_areas[int(100 * (x2 - x1) * (y2 - y1) + 1e-6)] += 1
      octaves = math.log2(w) - math.log2(h)  # The ratio may underflow.
      self.box_aspects[round(OCTAVE * octaves)] += 1

  def add_bad(self, reason: str, message: str) -> None:
    """Counts a bad record."""
    self.bad[reason] += 1
    if len(self.named) < NAMED:
      self.named.append(message)


def sample(total: int, limit: int, seed: int) -> list[int]:
  """Numbers of distinct records in random order, `limit` at most."""
  return random.Random(seed).sample(range(total), min(limit, total))


def count(source: TarSource, numbers: Sequence[int]) -> Census:
  """Reads these records, decodes their images and counts.

  Args:
    source: the records.
    numbers: which of them; read in the order of the shards.
  """
  census = Census(len(source))
  tokenize = Tokenizer()

  def look(number: int) -> Measures | tuple[str, str]:
    try:
      return _measure(source[number], tokenize)
    except RecordError as error:
      return BAD[RecordError], str(error)  # It names the record itself.
    except (ImageError, OSError) as error:
      kind = ImageError if isinstance(error, ImageError) else OSError
      return BAD[kind], f"{source.name(number)}: {error}"

  numbers = sorted(numbers)
  with ThreadPoolExecutor(os.cpu_count()) as pool:
    for start in range(0, len(numbers), CHUNK):
      for seen in pool.map(look, numbers[start : start + CHUNK]):
        if isinstance(seen, Measures):
          census.add(seen)
        else:
          census.add_bad(*seen)
  return census


def _measure(record: Record, tokenize: Tokenizer) -> Measures:
  height, width, _ = images.decode(record.image).shape
  boxes = []
  for part in record.parts:
    if part.crop is None:
      boxes.append(part.box)
    else:
      images.decode(part.crop)  # A broken one is a bad record.
  phrases = [tokenizer.clean(part.text) for part in record.parts]
  texts = [record.caption, *(part.text for part in record.parts)]
  caption, *lengths = tokenize.lengths(texts).clip(max=MOST_TOKENS).tolist()
  return Measures(
    (width, height), caption, phrases, lengths, boxes, record.left_out
  )
