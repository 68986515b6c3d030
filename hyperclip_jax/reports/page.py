"""Writes the report of a run as one self-contained HTML page.

The page has no script and no external resource.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from hyperclip_jax.data.records.boxes import Box
from hyperclip_jax.evals import held_out
from hyperclip_jax.evals.metrics import cones, norms
from hyperclip_jax.evals.rates import ERROR
from hyperclip_jax.files import write_whole
from hyperclip_jax.geometry.spaces import Lorentz, Space
from hyperclip_jax.inference.walk import ROOT_ROW, Stop
from hyperclip_jax.reports import maps, measures, plots, uncertainty, words
from hyperclip_jax.reports.drawing import Picture, drawn
from hyperclip_jax.reports.markup import (
  Markup,
  document,
  facts,
  figure,
  inline_image,
  note,
  shortened,
  tag,
)

FEW = 0.05  # share of pairs inside; relations with less are named


class Traversal(NamedTuple):
  """Walk from a picture to the root.

  Attributes:
    picture: picture at the start.
    caption: description of it.
    stops: nearest entries on the way.
    pictures: picture of some rows of the stops, shown instead of their names.
  """

  picture: Picture
  caption: str
  stops: Sequence[Stop]
  pictures: Mapping[int, Picture] = {}


class Example(NamedTuple):
  """A record, and the captions that the model retrieves for it.

  Attributes:
    picture: image of the record.
    caption: its own caption.
    parts: phrase and box, or crop, of each part.
    retrieved: captions nearest to the image, best first.
  """

  picture: Picture
  caption: str
  parts: Sequence[tuple[str, Box | Picture]] = ()
  retrieved: Sequence[str] = ()


def write_report(
  path: str | os.PathLike[str],
  *,
  title: str,
  about: Mapping[str, str],
  system: str,
  date: str,
  digest: str,
  summary: Mapping[str, float],
  history: plots.History,
  embeddings: plots.Embeddings,
  space: Space,
  traversals: Sequence[Traversal],
  examples: Sequence[Example],
  config_text: str,
) -> None:
  """Writes the report of a run; the same input gives the same bytes.

  Empty sections are replaced by a note.

  Args:
    path: HTML file to write.
    title: name of the run.
    about: further facts by name.
    system: name of the system, such as "hycoclip".
    date: date of the run, as shown.
    digest: digest of the config.
    summary: final results; rates are fractions. Their names start with the
      sample that was evaluated, and include errors, chance levels and counts
      (see `evals.rates`).
    history: rows of metrics.jsonl: {"step": 10, "loss": 3.2, ...}.
    embeddings: lifted points (rows, dim) by kind, one of plots.KINDS; row i of
      every kind belongs to the same record.
    space: space of the embeddings.
    traversals: walks to the root.
    examples: records to show.
    config_text: the whole config.

  Raises:
    ValueError: an embedding is of an unknown kind.
  """
  if unknown := embeddings.keys() - plots.KINDS.keys():
    raise ValueError(
      f"unknown kinds of embeddings {sorted(unknown)}: use {[*plots.KINDS]}"
    )
  trained = any(
    name.startswith(f"{held_out.TRAIN_SAMPLE}/") for name in summary
  )
  where = "training records" if trained else "held-out records"
  sections = (
    (f"Results on {where}", _results(summary, trained)),
    ("Training", _training(history)),
    (f"Uncertainty of {where}", uncertainty.section(_unprefixed(summary))),
    (f"Embeddings of {where}", _embeddings(embeddings, space)),
    (f"Walks to the root from {where}", _walks(traversals)),
    (f"Examples of {where}", _examples(examples)),
    ("Configuration", _configuration(config_text)),
  )
  page = document(
    title,
    tag("h1", title),
    facts(
      {"system": system, "date": date, "config's SHA-256": digest, **about}
    ),
    *(
      tag("section", tag("h2", name), *parts)
      for name, parts in sections
      if parts
    ),
  )
  write_whole(path, page, errors="replace")


def _results(summary: Mapping[str, float], trained: bool) -> list[Markup]:
  if not summary:
    return [note("There are no final results.")]
  about = words.TRAIN_SAMPLE if trained else words.HELD_OUT
  plain = _unprefixed(summary)
  found = measures.groups("", {measures.ONE: plain})
  prefix = held_out.TRAIN_SAMPLE if trained else held_out.HELD_OUT
  main = {
    measures.title(f"{prefix}/{name}"): measures.shown(plain[name])
    for name in held_out.SUMMARY
    if name in plain
  }
  return [
    note(about),
    facts(main),
    *_of_cones(plain),
    note(words.SPREAD),
    measures.table(found),
  ]


def _of_cones(results: Mapping[str, float]) -> list[Markup]:
  """Compares cones with similarity; names wide ones, and those of few pairs."""
  told: dict[str, list[str]] = {}
  wide, few, empty = [], [], []
  for relation in cones.RELATIONS:
    prefix, label = f"cones/{relation}", words.KINDS[f"cones/{relation}"]
    if f"{prefix}/auroc" not in results:
      continue
    ahead = results[f"{prefix}/auroc"] - results[f"{prefix}/similarity_auroc"]
    way = "better than" if ahead > 0 else "less well than"
    if abs(ahead) <= results.get(f"{prefix}/auroc{ERROR}", 0.0):
      way = "about as well as"
    told.setdefault(way, []).append(label)
    if results[f"{prefix}/aperture"] > cones.HALF_SPACE:
      wide.append(label)
    inside = results[f"{prefix}/inside"]
    if inside < FEW:
      (few if inside else empty).append(label)
  if not told:
    return []
  text = "; ".join(
    f"{way} similarity ({', '.join(of)})" for way, of in told.items()
  )
  text = f"Cones: entailment tells true from shuffled pairs {text}."
  if wide:
    text += (
      f" Most cones of {len(wide)} of the relations ({', '.join(wide)}) are "
      "half-spaces, which hold much that is unrelated, too."
    )
  if few:
    text += f" Cones hold less than {FEW:.0%} of the pairs ({', '.join(few)})."
  if empty:
    text += f" Cones hold none of the pairs ({', '.join(empty)})."
  return [note(text)]


def _unprefixed(summary: Mapping[str, float]) -> dict[str, float]:
  """Removes the name of the sample from the names of results."""
  return {
    name.partition("/")[2] or name: value for name, value in summary.items()
  }


def _numerically(name: str) -> list[tuple[str, int]]:
  """Sort key that puts r5 before r10."""
  return [
    (text, int(number or 0))
    for text, number in re.findall(r"(\D+)(\d{0,9})", name)
  ]


def _training(history: plots.History):
  names = {name for row in history for name in row} - {"step"}
  names = sorted(names, key=_numerically)
  panels = []
  for panel in words.PANELS:
    chosen = [name for name in names if re.search(panel.pattern, name)]
    names = [name for name in names if name not in chosen]
    # The table has what was measured once.
    if any(len(plots.series(history, name)[0]) > 1 for name in chosen):
      caption = panel.caption
      if any(name.startswith(f"{held_out.TRAIN_SAMPLE}/") for name in chosen):
        caption += " Measured on a sample of the training records."
      uri = plots.data_uri(_curves(history, chosen, panel))
      alt = f"{panel.title} over training steps"
      panels.append(figure(uri, panel.title, alt, caption))
  if not panels:
    return [note("No metrics were written more than once while training.")]
  return [
    note(
      "Plots run over training steps; evaluations start with the first one "
      "that the config asks for. From 100 measurements on, faint lines are "
      "single ones and strong lines their moving average; a cross on the axis "
      "marks a value that was not finite."
    ),
    tag("div", *panels, cls="panels"),
  ]


def _curves(history, chosen: Sequence[str], panel: words.Panel) -> Figure:
  """Plots a panel; results of evaluations have the names of the table."""
  solid = {
    name: re.sub(*panel.dashed, name) if panel.dashed else name
    for name in chosen
  }
  partners = {n: s for n, s in solid.items() if s != n and s in solid}
  evaluated = all(re.match(words.OF, name) for name in chosen)
  labels = {name: words.TERMS[name] for name in chosen if name in words.TERMS}
  if evaluated:
    labels = measures.labels([n for n in chosen if n not in partners])
  return plots.curves(history, chosen, panel.quantity, labels, partners)


def _embeddings(embeddings: plots.Embeddings, space: Space) -> list[Markup]:
  clean, lost, notes = {}, 0, []
  for kind, rows in embeddings.items():
    finite = np.isfinite(rows).all(axis=1, keepdims=True)
    lost += len(rows) - int(np.count_nonzero(finite))
    if finite.any():  # row i stays row i, because edges join rows
      clean[kind] = np.where(finite, rows, np.nan)
  if lost:
    notes.append(note(f"{lost} embeddings are not finite and were left out."))
  if not clean:
    return [note("There are no embeddings to show."), *notes]
  distances = norms.distances(space, clean)
  medians = {f"{k}_median": np.nanmedian(v) for k, v in distances.items()}
  picture, share = maps.embedding_map(clean, space)
  of_map = words.DISK if isinstance(space, Lorentz) else words.PLANE
  found = sorted(distances, key=lambda kind: medians[f"{kind}_median"])
  order = ", ".join(plots.KINDS[kind].label for kind in found)
  wanted = [kind for kind in plots.KINDS if kind in distances]
  verdict = "as wanted" if found == wanted else "which is not that order"
  captions = [
    f"{words.root(space)} Found, by the medians: {order}, {verdict}.",
    of_map.format(share=share, space=space),
  ]
  figures = (
    (
      plots.distance_histograms(norms.bins(distances) | medians),
      "Distance from the root",
    ),
    (picture, "Map of the embeddings"),
  )
  return [
    *notes,
    tag(
      "div",
      *(
        figure(plots.data_uri(plot), name, name, caption)
        for (plot, name), caption in zip(figures, captions, strict=True)
      ),
      cls="panels wide",
    ),
  ]


def _walks(traversals: Sequence[Traversal]):
  if not traversals:
    return [note("No walks were made.")]
  return [
    note(
      "From each picture the geodesic leads to the root. The chain lists the "
      "entries nearest along it, each with how much of the way is left where "
      "it first is the nearest. It should go from specific to general."
    ),
    *(walk(traversal) for traversal in traversals),
  ]


def walk(traversal: Traversal) -> Markup:
  """Makes a picture with the chain of landmarks on its walk to the root."""
  stops = []
  for stop in traversal.stops:
    name = "[ROOT]" if stop.row == ROOT_ROW else stop.name
    what = tag("span", name)
    if stop.row in traversal.pictures:
      what = inline_image(traversal.pictures[stop.row], name)
    stops.append(tag("li", what, tag("small", f"{stop.t:.0%}")))
  start = tag(
    "div",
    inline_image(traversal.picture, traversal.caption),
    tag("small", shortened(traversal.caption)),
  )
  return tag("div", start, tag("ol", *stops), cls="walk")


def _examples(examples: Sequence[Example]):
  if not examples:
    return [note("No records were chosen.")]
  return [
    note(
      "Each picture with its boxes, its caption, the phrase of every box, and "
      "the captions nearest to it, best first; its own is in bold."
    ),
    tag("div", *(_example(example) for example in examples), cls="panels"),
  ]


def _example(example: Example) -> Markup:
  parts = drawn(example.picture, example.caption, example.parts)
  if example.retrieved:
    found = (
      tag("li", tag("b", text) if text == example.caption else text)
      for text in example.retrieved
    )
    parts += [tag("h3", "Nearest captions"), tag("ol", *found)]
  return tag("article", *parts)


def _configuration(text: str) -> list[Markup]:
  return [tag("details", tag("summary", "Show in full"), tag("pre", text))]
