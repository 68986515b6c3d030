"""GRIT's rows: phrases of a caption and their boxes, for training and prepare.

The lists `noun_chunks` and `ref_exps` of a record hold rows of [start, end, x1,
y1, x2, y2, score]: offsets into the caption, and a box. A list may also be the
JSON text of one, as tables without lists keep it. A bad row is left out and
counted; the others are good.
"""

import json
import reprlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from hyperclip_jax.data.records import boxes
from hyperclip_jax.data.records import sample as sample_lib
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.sample import Phrase

LISTS = ("noun_chunks", "ref_exps")
ROW = "[start, end, x1, y1, x2, y2, score]"
MAX_PARTS = 1000  # a part's number has three digits


class ListError(ValueError):
  """A field that should be a list of rows.

  Attributes:
    field: its name.
  """

  def __init__(self, field: str, value: Any):
    """Makes the message of what was found."""
    found = reprlib.repr(value)[:200]
    super().__init__(f"{field}: found {found}, want a list of {ROW}")
    self.field = field


class Choice(NamedTuple):
  """A phrase that became a part.

  Attributes:
    number: its place among the phrases.
    text: normalised.
    box: inside of the image.
  """

  number: int
  text: str
  box: Box


def phrases(
  fields: Mapping[str, Any], caption: str, left_out: Counter[str]
) -> list[Phrase]:
  """The phrases of a record's lists, with their boxes as found.

  Args:
    fields: of the record.
    caption: as found, which the offsets count in.
    left_out: reason -> rows; counted up.

  Raises:
    ListError: a list is something else.
  """
  found = []
  for name in LISTS:
    for row in _rows(name, fields.get(name)):
      values = sample_lib.floats(row, 7)
      if values is None:
        left_out["bad row"] += 1
        continue
      start, end, x1, y1, x2, y2, _ = values
      text = sample_lib.span(caption, start, end)
      if text is None:
        left_out["bad offsets"] += 1
        continue
      found.append(Phrase(text, (x1, y1, x2, y2)))
  return found


def choose(
  found: Sequence[Phrase],
  width: float,
  height: float,
  min_side: int,
  left_out: Counter[str],
) -> Iterator[Choice]:
  """Yields one part for each distinct phrase: that of its first good box.

  Args:
    found: phrases with boxes in fractions of the image, any floats.
    width: of the image in pixels; likewise `height`.
    min_side: smallest side of a box in pixels.
    left_out: reason -> phrases; counted up.
  """
  seen: set[str] = set()
  for number, phrase in enumerate(found):
    text = sample_lib.normalise(phrase.text)
    fault = boxes.fault(phrase.box, width, height, min_side)
    if not text:
      fault = "phrase empty"
    elif fault is None and text in seen:
      fault = "phrase repeated"
    elif fault is None and len(seen) == MAX_PARTS:
      fault = "too many parts"
    if fault is None:
      seen.add(text)
      yield Choice(number, text, boxes.clipped(phrase.box))
    else:
      left_out[fault] += 1


def _rows(name: str, value: Any) -> list[Any]:
  """The rows of a list, or of a text that is one."""
  found = value
  if isinstance(value, str):
    try:
      found = json.loads(value) if value.strip() else None
    except (ValueError, RecursionError) as error:
      raise ListError(name, value) from error
  if found is None:
    return []
  if not isinstance(found, list):
    raise ListError(name, value)
  return found
