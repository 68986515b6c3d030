"""Checks a few records before a run reads them all.

Images without parts can be trained on too, each as its own part; without this
check nothing would show that a data set has boxes in pixels, or none at all.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from hyperclip_jax.data.records import box_forms, readers
from hyperclip_jax.data.records.box_forms import Form, Found
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource

RECORDS = 64  # read from each source
LEAST = 10  # records needed for a judgement
FEW = 0.05  # fraction of records with a part below which to warn


class Preview(NamedTuple):
  """Statistics of a few records.

  Attributes:
    records: number of good records read.
    parts: number of parts in all of them.
    with_parts: number of records with at least one part.
    left_out: reason -> number of boxes and phrases rejected.
    found: boxes of raw records, as found.
  """

  records: int
  parts: int
  with_parts: int
  left_out: Counter[str]
  found: list[Found]


def look(sources: Sequence[TarSource], count: int = RECORDS) -> Preview:
  """Reads evenly spaced records of each source; bad ones are skipped.

  Args:
    sources: sources to read.
    count: number of records to read from each.

  Returns:
    Statistics of the records.
  """
  records: list[Record] = []
  for source in sources:
    for i in range(min(count, len(source))):
      try:
        records.append(source[i * len(source) // min(count, len(source))])
      except Exception:  # the loader will report what is wrong with it
        continue
  left_out = Counter[str]()
  for record in records:
    left_out.update(record.left_out)
  return Preview(
    len(records),
    sum(len(record.parts) for record in records),
    sum(bool(record.parts) for record in records),
    left_out,
    [found for record in records for found in _boxes(record)],
  )


def check(sources: Sequence[TarSource]) -> None:
  """Checks that records have parts, for a system that trains on parts.

  Raises:
    ValueError: none has one, or few have one and their boxes look like those of
      another form; the message says what to do.
  """
  seen = look(sources)
  if seen.records < LEAST or seen.with_parts > FEW * seen.records:
    return
  message = summary(seen)
  doubt = box_forms.doubt(seen.found, Form())
  if doubt is not None and doubt.likelier is not None:
    form = doubt.likelier
    raise ValueError(
      f"{message}. {doubt.reason}: write them as fractions by "
      f"hyperclip prepare --boxes={form.unit} --box_format={form.ends} "
      "--input ... --output ..."
    )
  if not seen.with_parts:
    raise ValueError(
      f"{message}. This system trains on parts: phrases of the captions, with "
      "their boxes. `hyperclip ground` finds them in images with captions (see "
      "docs/grounding.md); or train clip or meru, which need none"
    )
  logging.warning("%s", message)


def summary(seen: Preview) -> str:
  """Formats parts per image and rejected boxes as one line."""
  reasons = ", ".join(f"{n} {reason}" for reason, n in seen.left_out.items())
  mean = seen.parts / max(seen.records, 1)
  return (
    f"{mean:.2f} parts per image: {seen.with_parts} of {seen.records} records "
    f"checked have one; left out: {reasons or 'nothing'}"
  )


def _boxes(record: Record) -> list[Found]:
  """Returns the boxes of a raw record as found; none for other layouts."""
  try:
    sample = readers.of_fields("", record.key, record.image, record.meta)
  except RecordError:
    return []
  return sample.found()
