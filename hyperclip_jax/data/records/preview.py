"""A look at some records, before a run reads them all.

Images without parts train as well, each as its own part: nothing would show
that the boxes of a data set are in pixels, or that it has none.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from absl import logging

from hyperclip_jax.data.records import box_forms, readers
from hyperclip_jax.data.records.box_forms import Form, Found
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource

RECORDS = 64  # of a source that are looked at
LEAST = 10  # records that say something
FEW = 0.05  # share of records with a part that is worth a warning


class Preview(NamedTuple):
  """What some records hold.

  Attributes:
    records: good ones that were read.
    parts: of all of them.
    with_parts: records that have at least one.
    left_out: reason -> boxes and phrases that did not become parts.
    found: boxes of raw records, as they were found.
  """

  records: int
  parts: int
  with_parts: int
  left_out: Counter[str]
  found: list[Found]


def look(sources: Sequence[TarSource], count: int = RECORDS) -> Preview:
  """Reads records of each source, evenly spread; bad ones are passed over."""
  records: list[Record] = []
  for source in sources:
    for i in range(min(count, len(source))):
      try:
        records.append(source[i * len(source) // min(count, len(source))])
      except Exception:  # whatever is wrong with it: the loader names it
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
  """Refuses records without parts, for an objective that is about parts.

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
      f"{message}. This system trains on parts: give records with "
      "noun_chunks or ref_exps (see docs/data.md), or choose clip or meru"
    )
  logging.warning("%s", message)


def summary(seen: Preview) -> str:
  """Parts an image, and what was left out, in a line."""
  reasons = ", ".join(f"{n} {reason}" for reason, n in seen.left_out.items())
  mean = seen.parts / max(seen.records, 1)
  return (
    f"{mean:.2f} parts an image: {seen.with_parts} of {seen.records} records "
    f"looked at have one; left out: {reasons or 'nothing'}"
  )


def _boxes(record: Record) -> list[Found]:
  """The boxes of a raw record as found; [] of others."""
  try:
    sample = readers.of_fields("", record.key, record.image, record.meta)
  except RecordError:
    return []
  return sample.found()
