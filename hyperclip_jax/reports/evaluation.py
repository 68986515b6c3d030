"""The results of the evaluation suite, beside the numbers of the paper.

Three files of the same content: results.json for programs, results.md to paste,
results.html to look at.
"""

import html
import json
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

from hyperclip_jax.evals import norms, paper, runner
from hyperclip_jax.evals.runner import Outcome
from hyperclip_jax.evals.tasks import Results
from hyperclip_jax.files import write_whole
from hyperclip_jax.reports import plots, words
from hyperclip_jax.reports.markup import (
  Markup,
  counts,
  document,
  facts,
  figure,
  note,
  tag,
)

PAGE = "results.html"
TABLE = "results.md"
DATA = "results.json"
SPREAD = tuple(f"_{name}" for name in norms.STATISTICS if name != "mean")

ABOUT = (
  "Rates are fractions between 0 and 1; classification is the mean accuracy "
  "over classes; tie and lca count edges and ancestors, lower is better. The "
  "columns on the right are those of HyCoCLIP's paper (Pal et al., ICLR 2025), "
  "trained on 20 million pairs. Its prompts and its WordNet tree differ in "
  "places."
)


class About(NamedTuple):
  """What was evaluated.

  Attributes:
    model: as the command line had it.
    objective: "hycoclip", "meru" or "clip".
    digest: of the model.
    data: folder of the data sets.
  """

  model: str
  objective: str
  digest: str
  data: str


def write(
  folder: pathlib.Path, about: About, outcomes: Sequence[Outcome]
) -> None:
  """Writes the three files, each in one step."""
  content = about._asdict() | {"tasks": [_plain(o) for o in outcomes]}
  write_whole(folder / DATA, json.dumps(content, indent=1) + "\n")
  write_whole(folder / TABLE, _markdown(about, outcomes), errors="replace")
  write_whole(folder / PAGE, _page(about, outcomes), errors="replace")


def line(outcome: Outcome) -> str:
  """One task for the terminal, without how distances spread."""
  if outcome.status != "done":
    message = outcome.brief or outcome.message
    return f"{outcome.task.name}: {outcome.status}: {message}"
  values = (
    f"{name} {_shown(value)}"
    for name, value in _numbers(outcome.results).items()
    if not name.endswith(SPREAD)
  )
  return f"{outcome.task.name}: {'  '.join(values)}"


def _plain(outcome: Outcome) -> dict[str, object]:
  return {
    "name": outcome.task.name,
    "status": outcome.status,
    "results": runner.plain(outcome.results),
    "paper": {k: dict(v) for k, v in outcome.task.paper.items()},
    "message": outcome.message,
    "seconds": outcome.seconds,
  }


def _rows(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
  """ "task metric" -> the value and the paper's, ready to be shown."""
  return {
    f"{outcome.task.name} {metric}": [
      _shown(value),
      *(
        _published(outcome.task.paper.get(metric, {}).get(model))
        for model in paper.MODELS
      ),
    ]
    for outcome in outcomes
    for metric, value in _numbers(outcome.results).items()
  }


def _numbers(results: Results) -> dict[str, float]:
  """Without the bins, which are drawn."""
  return {k: v for k, v in results.items() if not isinstance(v, list)}


def _published(value: float | None) -> str:
  """With the digits that the paper has, no more."""
  return "" if value is None else f"{value:g}"


def _shown(value: float) -> str:
  return f"{value:.3f}" if math.isfinite(value) else "not finite"


def _markdown(about: About, outcomes: Sequence[Outcome]) -> str:
  def row(*cells: str) -> str:
    return f"| {' | '.join(_inert(cell) for cell in cells)} |"

  lines = [f"# {_inert(about.model)}", "", ABOUT, ""]
  lines += [
    row("", "this model", *paper.MODELS),
    f"|{' --- |' * (len(paper.MODELS) + 2)}",
    *(row(name, *cells) for name, cells in _rows(outcomes).items()),
  ]
  for outcome in outcomes:
    if outcome.message:
      title = f"{outcome.task.name}: {outcome.status}"
      indented = outcome.message.replace("\n", "\n    ")
      lines += ["", f"## {title}", "", f"    {indented}"]
  return "\n".join(lines) + "\n"


def _inert(text: str) -> str:
  """Text that Markdown shows as it is, on one line."""
  one = html.escape(" ".join(text.split()), quote=False)
  return "".join(f"\\{c}" if c in "\\|`*_[]#" else c for c in one)


def _page(about: About, outcomes: Sequence[Outcome]) -> str:
  distances = _distances(outcomes)
  apart = {f"{name}{key}" for name, found in distances.items() for key in found}
  rows = {k: v for k, v in _rows(outcomes).items() if k not in apart}
  results = (
    counts(rows, ("", "this model", *paper.MODELS))
    if rows
    else note("No task has a result.")
  )
  sections = [tag("section", tag("h2", "Results"), note(ABOUT), results)]
  if distances:
    text = words.FLAT if about.objective == "clip" else words.HYPERBOLIC
    panels = [
      panel
      for name, found in distances.items()
      for panel in _panels(name.rstrip(" /"), found)
    ]
    sections.append(
      tag(
        "section",
        tag("h2", "Distances from the root"),
        note(text[0]),
        tag("div", *panels, cls="panels wide"),
      )
    )
  for status, title in (("failed", "Failed"), ("missing", "Missing data")):
    messages = [o for o in outcomes if o.status == status]
    if messages:
      sections.append(tag("section", tag("h2", title), *_messages(messages)))
  return document(
    f"Evaluation of {about.model}",
    tag("h1", "Evaluation"),
    facts(about._asdict()),
    *sections,
  )


def _distances(outcomes: Sequence[Outcome]) -> dict[str, Results]:
  """ "task prefix" of the metrics -> those of `evals.norms` without it."""
  found = {}
  for outcome in outcomes:
    for name in outcome.results:
      if name.endswith(norms.EDGES):
        prefix = name.removesuffix(norms.EDGES)
        found[f"{outcome.task.name} {prefix}"] = {
          metric.removeprefix(prefix): value
          for metric, value in outcome.results.items()
          if metric.removeprefix(prefix) in norms.NAMES
        }
  return found


def _panels(name: str, found: Results) -> list[Markup]:
  """Histograms of the distances from the root, and their statistics."""
  plot = plots.data_uri(plots.distance_histograms(found))
  values = _numbers(found)
  rows = {
    look.label: [_shown(values[f"{k}_{s}"]) for s in norms.STATISTICS]
    for k, look in plots.KINDS.items()
  }
  return [
    figure(plot, name, f"Histograms of distances from the root: {name}"),
    counts(rows, ("", *norms.STATISTICS)),
  ]


def _messages(outcomes: Sequence[Outcome]) -> list[Markup]:
  return [
    part
    for outcome in outcomes
    for part in (tag("h3", outcome.task.name), tag("pre", outcome.message))
  ]
