"""Writes a page to mark boxes as right or wrong, to choose a threshold.

The page counts precision by threshold while boxes are marked, in the browser
and without a request to any host. Marks stay in the browser's storage.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hyperclip_jax.data.records import grit, images
from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.data.records.images import ImageError
from hyperclip_jax.data.records.record import Record, RecordError
from hyperclip_jax.data.records.shards import TarSource, expand
from hyperclip_jax.files import write_whole
from hyperclip_jax.reports import census
from hyperclip_jax.reports.drawing import drawn
from hyperclip_jax.reports.markup import (
  Markup,
  document,
  facts,
  note,
  shortened,
  tag,
)


class Scored(NamedTuple):
  """A box of a record.

  Attributes:
    phrase: phrase that it is for.
    box: box, as a fraction of the image.
    score: score of the detector.
  """

  phrase: str
  box: Box
  score: float


def write(
  patterns: Sequence[str],
  output: str | os.PathLike[str],
  number: int,
  seed: int = 0,
) -> int:
  """Writes the page.

  Args:
    patterns: paths, folders or globs of raw GRIT tars.
    output: HTML file to write, atomically.
    number: boxes to show; all noun chunks of records that are drawn at random.
    seed: seed of the sample; the same data and seed give the same bytes.

  Returns:
    Number of boxes on the page.

  Raises:
    ValueError: no tar has a record.
    OSError: a pattern matches nothing, or `output` cannot be written.
  """
  paths = expand(patterns)
  source = TarSource(paths, 1, skip_bad=True)
  cards: list[Markup] = []
  for index in census.sample(len(source), number, seed):
    if len(cards) >= number:
      break
    try:
      cards += _cards(source[index], len(cards))
    except (RecordError, ImageError, OSError):
      continue
  cards = cards[:number]
  title = "Are these boxes right?"
  page = document(
    title,
    tag("h1", title),
    facts({"shards": " ".join(patterns), "boxes": str(len(cards))}),
    tag(
      "section",
      tag("h2", "Precision by threshold"),
      note(
        "Of the boxes above each score that are marked, the share that is "
        "right, with its standard error. A box is right if it holds what its "
        "phrase names, and little else. Raise --threshold until the precision "
        "is what you want; the boxes left shrink with it."
      ),
      tag("table", tag("tbody", id="precision"), cls="counts"),
    ),
    tag("section", tag("h2", "Boxes"), tag("div", *cards, cls="panels")),
    script=SCRIPT,
  )
  write_whole(output, page, errors="replace")
  return len(cards)


def boxes(record: Record) -> Iterator[Scored]:
  """Yields the boxes of the noun chunks of a raw record, with their scores."""
  wanted = {name: record.meta.get(name) for name in ("caption", "noun_chunks")}
  caption = str(wanted["caption"])
  parts = grit.parts(wanted, caption, Counter[str](), record.key)
  for part, score in zip(parts, grit.scores(wanted), strict=True):
    yield Scored(part.text, part.box, score)


def _cards(record: Record, first: int) -> list[Markup]:
  picture = images.decode(record.image)
  return [
    tag(
      "article",
      *drawn(picture, record.caption, [(scored.phrase, scored.box)]),
      tag(
        "p",
        *(_choice(f"box{number}", name) for name in ("right", "wrong")),
        tag("small", f" score {scored.score:.3f}, {shortened(record.key)}"),
      ),
      **{"data-score": f"{scored.score:.6f}"},
    )
    for number, scored in enumerate(boxes(record), first)
  ]


def _choice(name: str, value: str) -> Markup:
  button = tag("input", type="radio", name=name, value=value)
  return tag("label", button, f" {value} ")


SCRIPT = """
"use strict";
const cards = [...document.querySelectorAll("article[data-score]")];
const table = document.getElementById("precision");
const key = "review:" + location.pathname;
const marked = (card) => card.querySelector("input:checked")?.value ?? "";

function row(kind, cells) {
  const line = table.insertRow();
  for (const text of cells) {
    const cell = document.createElement(kind);
    cell.textContent = text;
    line.append(cell);
  }
}

function count() {
  table.replaceChildren();
  row("th", ["score above", "boxes", "marked", "right", "precision"]);
  for (let step = 0; step < 20; step++) {
    const above = step / 20;
    const kept = cards.filter((card) => Number(card.dataset.score) > above);
    if (!kept.length) break;
    const marks = kept.map(marked).filter((mark) => mark);
    const right = marks.filter((mark) => mark === "right").length;
    const share = right / marks.length;
    const error = Math.sqrt((share * (1 - share)) / marks.length);
    const shown = marks.length
      ? `${(100 * share).toFixed(0)}% \\u00b1 ${(100 * error).toFixed(0)}%`
      : "\\u2013";
    row("td", [above.toFixed(2), kept.length, marks.length, right, shown]);
  }
}

function changed() {
  count();
  try {
    localStorage.setItem(key, JSON.stringify(cards.map(marked)));
  } catch {} // no storage: the marks last as long as the page
}

try {
  const before = JSON.parse(localStorage.getItem(key)) ?? [];
  if (before.length === cards.length) {
    cards.forEach((card, i) => {
      const input = card.querySelector(`input[value="${before[i]}"]`);
      if (input) input.checked = true;
    });
  }
} catch {}
document.addEventListener("change", changed);
count();
"""
