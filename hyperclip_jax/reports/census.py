"""Counts what a sample of a source's records contains.

Bad records are counted and named, never fatal. Everything else is tallied as
whole numbers, so that memory grows with the phrases of the sample only.
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
from hyperclip_jax.data.records import grit, images
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.reports.tallies import Tally

WHOLE = 0.95  # area above which a box counts as the whole image
NAMED = 20  # bad records to list by name
CHUNK = 512  # records read at a time
MOST_TOKENS = 1024  # longer texts count as this long
OCTAVE = 12  # steps per factor of two in the tally of aspect ratios

BAD = {
  RecordError: "malformed texts",
  ImageError: "broken image",
  OSError: "unreadable bytes",
}


class Measures(NamedTuple):
  """Measures of one record.

  Lengths are in tokens and include the start and end tokens.

  Attributes:
    size: width and height of the image in pixels.
    caption: length of the caption.
    phrases: phrases of the parts, cleaned by the tokenizer.
    lengths: lengths of the phrases.
    boxes: boxes of the parts that are crops of the image.
    left_out: number of boxes and phrases that did not become parts, by reason.
    scores: scores of the rows of a raw record; none of other records.
  """

  size: tuple[int, int]
  caption: int
  phrases: Sequence[str]
  lengths: Sequence[int]
  boxes: Sequence[tuple[float, float, float, float]]
  left_out: Mapping[str, int] = {}
  scores: Sequence[float] = ()


@dataclasses.dataclass
class Census:
  """Counts over a sample of records.

  Attributes:
    total: number of records in the source.
    records: number of good records in the sample.
    bad: number of bad records by fault.
    named: messages on the first bad records, which name them.
    left_out: number of boxes and phrases of good records that did not become
      parts, by reason.
    parts: tally of the number of parts in a record.
    caption_tokens: tally of the length of a caption.
    phrase_tokens: tally of the length of a phrase.
    phrases: number of occurrences of each phrase, cleaned by the tokenizer.
    image_widths: tally of the widths of images in pixels.
    image_heights: tally of the heights of images in pixels.
    box_widths: tally of the widths of boxes in pixels, rounded; parts with a
      stored crop have no known box.
    box_heights: tally of the heights of boxes in pixels, rounded.
    box_areas: tally of the areas of boxes in percent of the image, rounded
      down.
    box_aspects: tally of log2(width / height) in steps of 1 / OCTAVE.
    whole: number of boxes of nearly the whole image.
    scores: tally of the scores of raw records' rows in percent, rounded down.
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
  whole: int = 0
  scores: Tally = dataclasses.field(default_factory=Counter)

  @property
  def sampled(self) -> int:
    """Number of records in the sample, good and bad."""
    return self.records + self.bad.total()

  def add(self, seen: Measures) -> None:
    """Adds a good record."""
    self.records += 1
    width, height = seen.size
    self.image_widths[width] += 1
    self.image_heights[height] += 1
    self.parts[len(seen.phrases)] += 1
    self.left_out.update(seen.left_out)
    self.caption_tokens[seen.caption] += 1
    self.phrase_tokens.update(seen.lengths)
    self.phrases.update(seen.phrases)
    for score in seen.scores:
      if math.isfinite(score):
        self.scores[min(max(int(100 * score + 1e-6), 0), 100)] += 1
    for x1, y1, x2, y2 in seen.boxes:
      self.whole += (x2 - x1) * (y2 - y1) > WHOLE
      w, h = (x2 - x1) * width, (y2 - y1) * height
      self.box_widths[round(w)] += 1
      self.box_heights[round(h)] += 1
      # the slack keeps 0.29 * 100 = 28.999999999999996 at 29
      self.box_areas[int(100 * (x2 - x1) * (y2 - y1) + 1e-6)] += 1
      octaves = math.log2(w) - math.log2(h)  # the ratio may underflow
      self.box_aspects[round(OCTAVE * octaves)] += 1

  def add_bad(self, reason: str, message: str) -> None:
    """Adds a bad record.

    Args:
      reason: kind of fault, a value of `BAD`.
      message: message that names the record.
    """
    self.bad[reason] += 1
    if len(self.named) < NAMED:
      self.named.append(message)


def sample(total: int, limit: int, seed: int) -> list[int]:
  """Draws distinct record numbers in random order.

  Args:
    total: number of records.
    limit: largest size of the sample.
    seed: seed of the sample.

  Returns:
    Up to `limit` numbers below `total`.
  """
  return random.Random(seed).sample(range(total), min(limit, total))


def count(source: TarSource, numbers: Sequence[int]) -> Census:
  """Reads records, decodes their images and counts.

  Args:
    source: source of the records.
    numbers: numbers of the records; they are read in the order of the shards.

  Returns:
    Counts over these records.
  """
  census = Census(len(source))
  tokenize = Tokenizer()

  def look(number: int) -> Measures | tuple[str, str]:
    try:
      return _measure(source[number], tokenize)
    except RecordError as error:
      return BAD[RecordError], str(error)  # names the record already
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
      images.decode(part.crop)  # a record with a broken crop is bad
  phrases = [tokenizer.clean(part.text) for part in record.parts]
  texts = [record.caption, *(part.text for part in record.parts)]
  caption, *lengths = tokenize.lengths(texts).clip(max=MOST_TOKENS).tolist()
  return Measures(
    (width, height),
    caption,
    phrases,
    lengths,
    boxes,
    record.left_out,
    grit.scores(record.meta),
  )
