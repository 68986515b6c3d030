"""Reports what a data set contains, on one self-contained HTML page.

It works for all layouts that the reader supports. A sample of records is read
and its images decoded.

  hyperclip report --shards 'DIR/*.tar' --output FILE.html
"""

import os
import pathlib
import tempfile
from collections.abc import Mapping, Sequence

from hyperclip_jax.data.records import images
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.files import write_whole
from hyperclip_jax.reports import census as census_lib
from hyperclip_jax.reports import preparation
from hyperclip_jax.reports.census import Census
from hyperclip_jax.reports.drawing import drawn, located
from hyperclip_jax.reports.markup import (
  Markup,
  counts,
  document,
  facts,
  note,
  shortened,
  tag,
)
from hyperclip_jax.reports.panels import BUCKETS, CONTEXT, panels
from hyperclip_jax.reports.tallies import share_within

LIMIT = 20_000  # records in the sample
SHEET = 24  # images on the contact sheet
COMMON = 30  # phrases in the list


def write_report(
  patterns: str | Sequence[str],
  output: str | os.PathLike[str],
  *,
  limit: int = LIMIT,
  seed: int = 0,
  min_side: int = 32,
) -> Census:
  """Counts what the shards contain and writes the page.

  Bad records, and tars that cannot be read, are counted and named on the page.

  Args:
    patterns: paths or globs of tars.
    output: HTML file to write, atomically.
    limit: largest number of records to sample.
    seed: seed of the sample; the same data and seed give the same bytes.
    min_side: smallest side of the boxes of raw records in pixels.

  Returns:
    Counts shown on the page.

  Raises:
    ValueError: `limit` or `min_side` is out of range, or no tar has a record.
    OSError: a pattern matches nothing, or `output` cannot be written.
  """
  if limit < 1:
    raise ValueError(f"limit is {limit}: sample at least one record")
  if min_side < 0:
    raise ValueError(f"min_side is {min_side}: want pixels, 0 or more")
  _check_writable(pathlib.Path(output))
  paths = expand(patterns)
  source = TarSource(paths, min_side, skip_bad=True)
  numbers = census_lib.sample(len(source), limit, seed)
  census = census_lib.count(source, numbers)
  sections = (
    ("Totals", _totals(census, min_side)),
    ("Bad data", _bad(census, source.skipped)),
    ("Left out", _left_out(census)),
    ("Preparation", preparation.sections(paths)),
    ("Histograms", _histograms(census)),
    ("Text buckets", _buckets(census)),
    ("Most common phrases", _phrases(census)),
    ("Contact sheet", _sheet(source, numbers)),
  )
  title = "Data report"
  known = {
    "shards": " ".join([patterns] if isinstance(patterns, str) else patterns),
    "tars": f"{len(paths):,}",
    "sample": f"{census.sampled:,} of {census.total:,} records",
    "seed": str(seed),
  }
  page = document(
    title,
    tag("h1", title),
    facts(known),
    *(tag("section", tag("h2", k), *parts) for k, parts in sections if parts),
  )
  write_whole(output, page, errors="replace")
  return census


def _check_writable(output: pathlib.Path) -> None:
  """Checks that the output can be written, before any work."""
  if output.is_dir():
    raise IsADirectoryError(f"{output} is a folder: name a file in it")
  try:
    tempfile.TemporaryFile(dir=output.parent).close()
  except OSError as error:
    raise OSError(f"cannot write {output}: {error.strerror}") from error


def _totals(census: Census, min_side: int) -> list[Markup]:
  parts = census.phrase_tokens.total()
  return [
    note(
      "All numbers but the first are of the sample. Parts are those that the "
      "reader keeps: one for each phrase of a record, and from raw records "
      f"only boxes with sides of {min_side} pixels or more. Phrases are "
      "compared after the tokenizer's cleaning (case, spaces, encoding faults)."
    ),
    counts(
      {
        "Records in the shards": f"{census.total:,}",
        "Records sampled": f"{census.sampled:,}",
        "Bad records": f"{census.bad.total():,}",
        "Good records": f"{census.records:,}",
        "Records without parts": f"{census.parts[0]:,}",
        "Parts": f"{parts:,}",
        "Parts per good record": f"{parts / max(census.records, 1):.2f}",
        "Distinct phrases": f"{len(census.phrases):,}",
        f"Boxes above {census_lib.WHOLE:.0%} of the image": _share(census),
      }
    ),
  ]


def _share(census: Census) -> str:
  boxes = census.box_areas.total()
  return f"{census.whole:,} ({census.whole / max(boxes, 1):.1%})"


def _left_out(census: Census) -> list[Markup]:
  if not census.left_out:
    return []
  rows = {reason: f"{n:,}" for reason, n in sorted(census.left_out.items())}
  return [
    note("Boxes and phrases of good records that did not become parts."),
    counts(rows),
  ]


def _bad(census: Census, skipped: Mapping[str, str]) -> list[Markup]:
  if not census.bad and not skipped:
    return [note("No bad record in the sample, and no bad tar.")]
  named = [*skipped.values()][: census_lib.NAMED] + census.named
  bad = {"tar left out whole": len(skipped)} | census.bad
  return [
    note(
      "Numbers of unusable records, and the names of the first. Training "
      "replaces such records."
    ),
    counts({name: f"{n:,}" for name, n in bad.items() if n}),
    tag("ul", *(tag("li", shortened(text)) for text in named), cls="named"),
  ]


def _histograms(census: Census) -> list[Markup]:
  if not census.records:
    return [note("There is no good record to show.")]
  notes = [
    note("Fractions of the sample. Far outliers are counted in the last bar.")
  ]
  own = census.phrase_tokens.total() - census.box_areas.total()
  if own:
    notes.append(
      note(
        f"{own:,} parts are stored as crops: their boxes in the image are not "
        "known, and they are not counted as boxes."
      )
    )
  return [*notes, tag("div", *panels(census), cls="panels")]


def _buckets(census: Census) -> list[Markup]:
  tallies = (census.caption_tokens, census.phrase_tokens)
  rows = {
    f"{bucket} tokens": [f"{share_within(t, bucket):.1%}" for t in tallies]
    for bucket in BUCKETS
  }
  return [
    note(
      "A batch of texts is padded to the shortest of these lengths that fits "
      "all of them, which determines its cost. Fractions of texts that fit, "
      f"including start and end token; texts are truncated to {CONTEXT}."
    ),
    counts(rows, ("", "captions", "phrases")),
  ]


def _phrases(census: Census) -> list[Markup]:
  total = max(census.phrases.total(), 1)
  # ties are broken by name, since their order depends on the sample
  common = sorted(census.phrases.items(), key=lambda pair: (-pair[1], pair[0]))
  items = (
    tag("li", shortened(phrase), tag("small", f" {n:,} ({n / total:.2%})"))
    for phrase, n in common[:COMMON]
  )
  if not common:
    return [note("The sample has no phrase.")]
  return [
    note("Number of occurrences, and fraction of all parts."),
    tag("ol", *items, cls="columns"),
  ]


def _sheet(source: TarSource, numbers: Sequence[int]) -> list[Markup]:
  """Shows the first good records of the sample, which is in random order."""
  articles = []
  for number in numbers:
    if len(articles) == SHEET:
      break
    try:
      articles.append(_card(source[number]))
    except (RecordError, ImageError, OSError):
      continue  # counted and named by the census
  return [
    note(
      "Some records of the sample with their boxes, their captions and the "
      "phrase of each box."
    ),
    tag("div", *articles, cls="panels"),
  ]


def _card(record: Record) -> Markup:
  picture = images.decode(record.image)
  key = tag("small", shortened(record.key))
  return tag(
    "article", *drawn(picture, record.caption, located(record, picture)), key
  )
