"""Reads GRIT's rows: phrases of a caption and their boxes.

The lists `noun_chunks` and `ref_exps` of a record hold rows of [start, end, x1,
y1, x2, y2, score]: character offsets into the caption, and a box. A list may
also be JSON text, as in tables without lists. A bad row is left out and counted
without affecting the others.
"""

import contextlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hyperclip_jax.data.records import fields, texts
from hyperclip_jax.data.records.record import Part, RecordError

LISTS = ("noun_chunks", "ref_exps")
ROW = "[start, end, x1, y1, x2, y2, score]"

_SIZES = (("original_width", "original_height"), ("width", "height"))


def parts(
  meta: Mapping[str, Any], caption: str, left_out: Counter[str], where: str
) -> list[Part]:
  """Reads the parts listed by a record.

  Args:
    meta: fields of the record.
    caption: caption as found, to which the offsets refer.
    left_out: counts of bad rows by reason, which are increased.
    where: shard and key, for messages.

  Returns:
    Parts as found, not cleaned.

  Raises:
    RecordError: a list is of another type.
  """
  found = []
  for name in LISTS:
    for row in _rows(meta.get(name), name, where):
      values = fields.floats(row, 7)
      if values is None:
        left_out["bad row"] += 1
        continue
      start, end, x1, y1, x2, y2, _ = values
      text = texts.span(caption, start, end)
      if text is None:
        left_out["bad offsets"] += 1
        continue
      found.append(Part(text, (x1, y1, x2, y2)))
  return found


def scores(meta: Mapping[str, Any]) -> list[float]:
  """Returns the scores of the rows that `parts` reads, in their order."""
  found = []
  caption = meta.get("caption")
  for name in LISTS:
    with contextlib.suppress(RecordError):
      for row in _rows(meta.get(name), name, ""):
        values = fields.floats(row, 7)
        if values is None or not isinstance(caption, str):
          continue
        if texts.span(caption, *values[:2]) is not None:
          found.append(values[6])
  return found


def measured(meta: Mapping[str, Any]) -> tuple[float, float] | None:
  """Returns the size of the image that boxes refer to, if a record gives it.

  It is the size of the original, or else of the image stored by img2dataset.
  """
  for names in _SIZES:
    size = fields.floats([meta.get(name) for name in names], 2)
    if size is not None and all(0 < side < math.inf for side in size):
      return size[0], size[1]
  return None


def _rows(value: Any, name: str, where: str) -> list[Any]:
  """Returns the rows of a list, or of a JSON text of a list."""
  found = value
  if isinstance(value, str):
    with contextlib.suppress(ValueError, RecursionError):
      found = json.loads(value) if value.strip() else None
  if found is None:
    return []
  if not isinstance(found, list):
    problem = f"found {fields.shown(value)}, want a list of {ROW}"
    fields.fail(where, name, problem, f"{name} is not a list")
  return found
