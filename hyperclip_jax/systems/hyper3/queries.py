"""Queries of Hyper3-CLIP: sentences and phrases of a caption, and of its boxes.

A caption is the root of its queries. Sentences lie below it, and phrases of the
caption below its first sentence, or below the caption if it has no other.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

SENTENCES, BUDGET = 5, 30
SENTENCE, BOX, PHRASE = 1.0, 0.75, 0.5  # weights
SHORTEST = 3  # characters
# Phrases of up to LONGEST words; WINDOW words of longer ones, every STRIDE.
LONGEST, WINDOW, STRIDE = 8, 6, 4

_ENDS = re.compile(r"(?<=[.!?;])\s+|[\r\n]+")
_BREAKS = re.compile(
  r"[,;:()]|\b(?:and|with|near|beside|behind|under|above|around|next to)\b",
  re.IGNORECASE,
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


class Query(NamedTuple):
  """A text to look for in the picture of its caption.

  Attributes:
    text: words.
    parent: number of the longer query that it belongs to; -1 of the caption.
    weight: weight in the loss; 0 of the caption.
  """

  text: str
  parent: int
  weight: float


def queries(
  caption: str, phrases: Sequence[str], most: int | None = 6
) -> list[Query]:
  """Makes the queries of a caption.

  Args:
    caption: caption of a picture.
    phrases: phrases of the boxes.
    most: number of queries to keep, the caption among them; None for all.

  Returns:
    Caption, sentences, phrases of boxes, and phrases of the caption: no text
    twice, whatever its case, and none shorter than three characters but the
    caption.
  """
  found = [Query(_plain(caption), -1, 0.0)]
  seen = {found[0].text.casefold()}
  sentences = 0

  def add(texts, parent: int, weight: float) -> None:
    for text in map(_plain, texts):
      if len(text) >= SHORTEST and text.casefold() not in seen:
        seen.add(text.casefold())
        found.append(Query(text, parent, weight))

  add(_ENDS.split(caption)[:SENTENCES], 0, SENTENCE)
  sentences = len(found) - 1
  add(phrases[:BUDGET], 0, BOX)
  budget = max(0, BUDGET - (len(found) - 1 - sentences))
  parent = 1 if sentences else 0
  add(itertools.islice(_phrases(caption), budget), parent, PHRASE)
  return found[:most]


def _plain(text: str) -> str:
  return " ".join(text.split())


def _phrases(caption: str) -> Iterator[str]:
  """Parts of a caption between commas and prepositions, in windows."""
  for chunk in _BREAKS.split(caption):
    words = _WORD.findall(chunk)
    if len(words) <= LONGEST:
      windows = [words]
    else:
      windows = [words[i : i + WINDOW] for i in range(0, len(words), STRIDE)]
    yield from (" ".join(window) for window in windows if len(window) > 1)
