"""Writes evaluation results beside the numbers of the paper.

There are three files of the same content: results.json for programs, results.md
for documents and results.html for browsers.
"""

import html
import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hyperclip_jax.evals import benchmarks, rates, runner
from hyperclip_jax.evals.metrics import norms
from hyperclip_jax.evals.runner import Outcome
from hyperclip_jax.evals.tasks import LEFT_OUT as LEFT_OUT_KEY
from hyperclip_jax.evals.tasks import Results
from hyperclip_jax.files import shown, write_whole
from hyperclip_jax.geometry.spaces import Space
from hyperclip_jax.reports import measures, plots, words
from hyperclip_jax.reports.markup import (
  Markup,
  counts,
  document,
  facts,
  figure,
  note,
  tag,
)

MESSAGE = 1000  # characters of a message on one line
PAGE = "results.html"
TABLE = "results.md"
DATA = "results.json"
Outcomes = Mapping[str, Sequence[Outcome]]  # model -> its outcomes
SPREAD = tuple(f"_{name}" for name in norms.STATISTICS if name != "mean")

PAPER = (
  "The columns on the right are from HyCoCLIP's paper (Pal et al., ICLR 2025), "
  "whose models were trained on 20 million pairs; some of its prompts and of "
  "its WordNet tree differ."
)
LEFT_OUT = (
  "These could not be read and are not in the numbers. Repair or download "
  f"them, remove the task's file in {runner.FOLDER}/, and run again."
)
LEFT_OUT_SHOWN = 20


class About(NamedTuple):
  """Facts on an evaluation.

  Attributes:
    model: model as given on the command line.
    system: name of the system, such as "hycoclip".
    space: space of its embeddings.
    digest: fingerprint of the model.
    data: folder of the data sets.
    size: number of parameters, such as "149.6 M parameters".
    device: devices that it ran on.
    software: versions of Python and packages.
  """

  model: str
  system: str
  space: Space
  digest: str
  data: str
  size: str
  device: str
  software: str


def write(
  folder: pathlib.Path, about: About, outcomes: Sequence[Outcome]
) -> None:
  """Writes the three files, each atomically.

  Args:
    folder: existing folder to write into.
    about: facts on the evaluation.
    outcomes: outcome of each task.
  """
  _write(folder, _content(about, outcomes), {measures.ONE: (about, outcomes)})


def compare(
  folder: pathlib.Path,
  models: Mapping[str, tuple[About, Sequence[Outcome]]],
) -> None:
  """Writes the three files with several models side by side.

  Args:
    folder: existing folder to write into.
    models: name of each model -> facts on its evaluation, and the outcomes.
  """
  content = {name: _content(*found) for name, found in models.items()}
  _write(folder, {"models": content}, models)


def _write(
  folder: pathlib.Path,
  content: Mapping[str, object],
  models: Mapping[str, tuple[About, Sequence[Outcome]]],
) -> None:
  write_whole(folder / DATA, json.dumps(content, indent=1) + "\n")
  abouts = {name: about for name, (about, _) in models.items()}
  outcomes = {name: found for name, (_, found) in models.items()}
  write_whole(folder / TABLE, _markdown(abouts, outcomes), errors="replace")
  write_whole(folder / PAGE, _page(abouts, outcomes), errors="replace")


def _content(about: About, outcomes: Sequence[Outcome]) -> dict[str, object]:
  return about._asdict() | {
    "space": str(about.space),
    "tasks": [_plain(o) for o in outcomes],
    "means": {
      name: mean.value
      for name, mean in means(outcomes).items()
      if not math.isnan(mean.value)
    },
  }


def line(outcome: Outcome) -> str:
  """Formats the outcome of a task as a line for the terminal."""
  name = outcome.task.name
  if outcome.status != "done":
    message = outcome.brief or outcome.message
    return f"{name}: {outcome.status}: {shown(message, MESSAGE)}"
  values = [
    f"{measure} {measures.shown(value)}"
    for measure, value in rates.measured(_numbers(outcome.results)).items()
    if not measure.endswith(SPREAD)
  ]
  left_out = _left_out(outcome)
  if left_out:
    values.append(f"left out {len(left_out):,}")
  return f"{name}: {'  '.join(values)}"


def _plain(outcome: Outcome) -> dict[str, object]:
  return {
    "name": outcome.task.name,
    "status": outcome.status,
    "results": runner.plain(outcome.results),
    "paper": {k: dict(v) for k, v in outcome.task.paper.items()},
    "message": outcome.message,
    "seconds": outcome.seconds,
  }


def _numbers(results: Results) -> dict[str, float]:
  """Selects the numbers, without histograms and files left out."""
  return {k: v for k, v in results.items() if isinstance(v, (int, float))}


def _left_out(outcome: Outcome) -> dict[str, str]:
  found = outcome.results.get(LEFT_OUT_KEY, {})
  return found if isinstance(found, dict) else {}


def _groups(models: Outcomes) -> list[measures.Group]:
  """Groups all measures except distances from the root, which are drawn."""
  tasks = {o.task.name: o.task for found in models.values() for o in found}
  groups = []
  for name, task in tasks.items():
    of_task = {
      model: outcome
      for model, found in models.items()
      for outcome in found
      if outcome.task.name == name
    }
    results = {model: _tabled(outcome) for model, outcome in of_task.items()}
    found = measures.groups(name, results, task.paper)
    left_out = max(len(_left_out(outcome)) for outcome in of_task.values())
    if left_out:
      found = [
        group._replace(counts=f"{group.counts}, {left_out:,} left out")
        for group in found
      ]
    groups += found
  means = _means(models)
  return groups + [measures.Group("Means", "", means)] * bool(means)


def _means(models: Outcomes) -> list[measures.Row]:
  """Lists the means of benchmarks; those that lack data sets have no value."""
  found = {model: means(outcomes) for model, outcomes in models.items()}
  every = {name: mean for of in found.values() for name, mean in of.items()}
  return [
    measures.Row(
      mean.title,
      f"{mean.measured} of {mean.count} data sets",
      {
        model: measures.shown(of[name].value)
        for model, of in found.items()
        if name in of and not math.isnan(of[name].value)
      },
      best=frozenset(),
      compared=False,
      chance="",
      published={},
    )
    for name, mean in every.items()
  ]


def means(outcomes: Sequence[Outcome]) -> dict[str, benchmarks.Mean]:
  """Averages the results over the groups of `benchmarks`."""
  done = {o.task.name: _numbers(o.results) for o in outcomes}
  return benchmarks.means(done)


def _tabled(outcome: Outcome) -> dict[str, float]:
  """Selects the numbers that are not drawn as distances from the root."""
  drawn = {
    f"{prefix}{metric}"
    for prefix, of in _distances(outcome).items()
    for metric in of
  }
  return {k: v for k, v in _numbers(outcome.results).items() if k not in drawn}


def _title(abouts: Mapping[str, About]) -> str:
  return " and ".join(about.model for about in abouts.values())


def _markdown(abouts: Mapping[str, About], outcomes: Outcomes) -> str:
  def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"

  found = _groups(outcomes)
  ours, theirs = [*abouts], measures.models(found)
  head = ["", *map(_inert, ours), "chance", *theirs]
  lines = [f"# {_inert(_title(abouts))}", "", words.SPREAD]
  lines += [PAPER] if theirs else []
  lines += ["", row(*head), f"|{' --- |' * len(head)}"]
  for group in found:
    counts = f" ({group.counts})" if group.counts else ""
    lines.append(
      row(f"**{_inert(group.title)}**{counts}", *[""] * len(head[1:]))
    )
    for one in group.rows:
      numbers = [measures.published(one.published.get(m)) for m in theirs]
      values = [
        f"**{value}**" if name in one.best else value
        for name in ours
        for value in [one.values.get(name, "")]
      ]
      lines.append(row(_inert(one.name), *values, one.chance, *numbers))
  for title, briefs in _briefs(outcomes).items():
    lines += ["", f"## {title}", ""]
    lines += [f"- {_inert(name)}: {_inert(text)}" for name, text in briefs]
  return "\n".join(lines) + "\n"


def _briefs(models: Outcomes) -> dict[str, list[tuple[str, str]]]:
  """Lists what is left out, failed or missing: title -> (task, one line)."""
  found: dict[str, dict[tuple[str, str], None]] = {}  # each line once
  outcomes = [outcome for of in models.values() for outcome in of]
  for outcome in outcomes:
    name, left_out = outcome.task.name, _left_out(outcome)
    if left_out:
      texts = [f"{path}: {reason}" for path, reason in left_out.items()]
      named = [(name, shown(text, MESSAGE)) for text in texts[:LEFT_OUT_SHOWN]]
      if len(texts) > LEFT_OUT_SHOWN:
        named.append((name, f"and {len(texts) - LEFT_OUT_SHOWN:,} more"))
      found.setdefault("Left out", {}).update(dict.fromkeys(named))
  for status, title in (("failed", "Failed"), ("missing", "Missing data")):
    for outcome in outcomes:
      if outcome.status == status:
        text = shown(outcome.brief or outcome.message, MESSAGE)
        found.setdefault(title, {})[(outcome.task.name, text)] = None
  return {title: [*lines] for title, lines in found.items()}


def _inert(text: str) -> str:
  """Escapes a text for Markdown, on one line."""
  one = html.escape(" ".join(text.split()), quote=False)
  # An underscore within a word, as in coco_boxes, needs no escape.
  return re.sub(r"[\\|`*\[\]#]|\b_|_\b|(?<=_)_", r"\\\g<0>", one)


def _page(abouts: Mapping[str, About], outcomes: Outcomes) -> str:
  found = _groups(outcomes)
  results = [note("No task has a result.")]
  if found:
    paper = [note(PAPER)] if measures.models(found) else []
    said = filter(None, (words.BEST, measures.verdict(found)))
    best = [note(text) for text in said] if len(abouts) > 1 else []
    results = [note(words.SPREAD), *paper, *best, measures.table(found)]
  sections = [tag("section", tag("h2", "Results"), *results)]
  sections += _of_distances(abouts, outcomes)
  for title, briefs in _briefs(outcomes).items():
    items = (tag("li", tag("b", name), f" {text}") for name, text in briefs)
    parts = [tag("ul", *items, cls="named")]
    if title == "Left out":
      parts.insert(0, note(LEFT_OUT))
    if title == "Missing data":
      parts.append(_layouts(outcomes))
    sections.append(tag("section", tag("h2", title), *parts))
  many = len(abouts) > 1
  known = (
    facts(
      ({"name": name} if many else {})
      | about._asdict()
      | {"space": str(about.space)}
    )
    for name, about in abouts.items()
  )
  return document(
    f"Evaluation of {_title(abouts)}",
    tag("h1", "Evaluation"),
    *known,
    *sections,
  )


def _of_distances(
  abouts: Mapping[str, About], outcomes: Outcomes
) -> list[Markup]:
  """Draws the distances from the root of each model, in one section."""
  panels = []
  for model, found in outcomes.items():
    first = f"{model}: " if len(outcomes) > 1 else ""
    for outcome in found:
      for prefix, of in _distances(outcome).items():
        name = f"{first}{outcome.task.name} {prefix}".rstrip(" /")
        panels += _panels(name, of)
  if not panels:
    return []
  roots = dict.fromkeys(words.root(about.space) for about in abouts.values())
  return [
    tag(
      "section",
      tag("h2", "Distances from the root"),
      *map(note, roots),
      tag("div", *panels, cls="panels wide"),
    )
  ]


def _layouts(models: Outcomes) -> Markup:
  """Explains, in a folded element, how to obtain each missing data set."""
  messages = dict.fromkeys(
    o.message
    for outcomes in models.values()
    for o in outcomes
    if o.status == "missing"
  )
  summary = tag("summary", "Where to get them, and how to arrange them")
  return tag("details", summary, *(tag("pre", text) for text in messages))


def _distances(outcome: Outcome) -> dict[str, Results]:
  """Maps the prefix of metrics to those of `evals.metrics.norms`."""
  found = {}
  for name in outcome.results:
    if name.endswith(norms.EDGES):
      prefix = name.removesuffix(norms.EDGES)
      found[prefix] = {
        metric.removeprefix(prefix): value
        for metric, value in outcome.results.items()
        if metric.removeprefix(prefix) in (*norms.NAMES, "records")
      }
  return found


def _panels(name: str, found: Results) -> list[Markup]:
  """Draws histograms of the distances from the root, with statistics."""
  plot = plots.data_uri(plots.distance_histograms(found))
  values = _numbers(found)
  rows = {
    look.label: [measures.shown(values[f"{k}_{s}"]) for s in norms.STATISTICS]
    for k, look in plots.KINDS.items()
  }
  of = measures.counted(values)
  return [
    figure(plot, name, f"Histograms of distances from the root: {name}", of),
    counts(rows, ("", *norms.STATISTICS)),
  ]
