"""Writes a page that sets runs side by side."""

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from hyperclip_jax import files
from hyperclip_jax.evals import held_out
from hyperclip_jax.files import shown, write_whole
from hyperclip_jax.reports import measures, plots, provenance, words
from hyperclip_jax.reports.markup import (
  Markup,
  counts,
  document,
  facts,
  figure,
  note,
  tag,
)
from hyperclip_jax.systems.task import variable_shapes
from hyperclip_jax.training import build, log
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config_tree import leaves

RESULTS = "results.json"
MOST_RESULTS = 1 << 24  # bytes
# Metric -> title, label of the axis, and caption of its plot.
CURVES = {
  "loss": (
    "Loss",
    "loss",
    "What training minimises. Losses of systems with other terms cannot be "
    "compared.",
  ),
  "contrastive_loss": (
    "Contrastive term of the loss",
    "nats",
    "How surely pictures and texts find each other in a batch, which is harder "
    "in larger ones. Lower is better.",
  ),
  "entailment_loss": (
    "Entailment term of the loss",
    "loss",
    "How far points lie outside of the cones that the loss asks for, before "
    "weighting. Lower is better.",
  ),
  "grad_norm": (
    "Norm of the gradient",
    "norm",
    "Over all parameters, before the update. Jumps are signs of an unstable "
    "run.",
  ),
}
LONGEST = 40  # characters of a config value
MOST_ALONE = 6  # values in which one run alone differs; more are folded


class Run(NamedTuple):
  """What is known of a run.

  Attributes:
    config: dotted name -> value.
    facts: further facts by name.
    history: rows of metrics.jsonl.
    results: results of its report by name; empty if it has none.
  """

  config: Mapping[str, Any]
  facts: Mapping[str, str]
  history: Sequence[log.Row]
  results: Mapping[str, float]


def write(
  workdirs: Sequence[pathlib.Path],
  output: pathlib.Path,
  trust_system: bool = False,
) -> None:
  """Writes a page that compares runs.

  Args:
    workdirs: folders of the runs, at least one.
    output: HTML file to write.
    trust_system: whether systems of other packages may be imported.

  Raises:
    FileNotFoundError: a folder holds no run.
    ValueError: a file of a run is damaged, or a run is given twice.
  """
  resolved = [str(path.absolute()) for path in workdirs]
  if len({*resolved}) < len(resolved):
    raise ValueError(f"a run is given twice: {', '.join(map(str, workdirs))}")
  names = measures.names(resolved)
  runs = {
    name: read(workdir, trust_system)
    for name, workdir in zip(names, workdirs, strict=True)
  }
  sections = {
    "Runs": _facts(runs),
    "What differs": _differences(runs),
    "Results": _results(runs),
    "Training": _curves(runs),
  }
  title = f"Comparison of {len(runs)} runs"
  page = document(
    title,
    tag("h1", title),
    facts(
      {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "software": provenance.software(),
      }
    ),
    *(
      tag("section", tag("h2", name), *parts)
      for name, parts in sections.items()
    ),
  )
  output.parent.mkdir(parents=True, exist_ok=True)
  write_whole(output, page, errors="replace")


def read(workdir: pathlib.Path, trust_system: bool = False) -> Run:
  """Reads what a run has written.

  Args:
    workdir: folder of the run.
    trust_system: whether a system of another package may be imported.

  Returns:
    Config, facts, metrics and results.

  Raises:
    FileNotFoundError: it holds no run.
    ValueError: a file is damaged.
  """
  config = config_lib.read(workdir, trust_system)
  history = log.read(workdir)
  params = variable_shapes(build.encoder(config))["params"]
  size = sum(leaf.size for leaf in jax.tree.leaves(params))
  done = max((row["step"] for row in history), default=0)
  seconds = sum(row.get("seconds", 0.0) for row in history)
  rates = [
    r["samples_per_second"] for r in history if "samples_per_second" in r
  ]
  speed = sorted(rates)[len(rates) // 2] if rates else None
  known = {
    "folder": shown(str(workdir), LONGEST),
    "system": config.system,
    "parameters": f"{size:,}",
    "steps done": f"{done:,} of {config.steps:,}",
    "batch": f"{config.batch_size:,}",
    "examples seen": f"{done * config.batch_size:,}",
    "time": provenance.took(seconds) if seconds else "",
    "samples / s": f"{speed:,.0f}" if speed else "",
  }
  return Run(dict(leaves(config)), known, history, _final(workdir / RESULTS))


def _final(path: pathlib.Path) -> dict[str, float]:
  """Reads the results of a run; empty if there are none yet."""
  if not path.exists():
    return {}
  found = files.read_json(path, MOST_RESULTS)
  if not isinstance(found, dict):
    raise ValueError(f"{path}: not the results of a run")
  return {
    str(name): float(value)
    for name, value in found.items()
    if isinstance(value, (int, float))
  }


def _facts(runs: Mapping[str, Run]) -> list[Markup]:
  names = next(iter(runs.values())).facts
  rows = {name: [run.facts[name] for run in runs.values()] for name in names}
  return [_table(rows, runs)]


def _differences(runs: Mapping[str, Run]) -> list[Markup]:
  """Tabulates the values of the configs that are not the same everywhere.

  What sets a single one of several runs apart is folded where it is much.
  """
  configs = [run.config for run in runs.values()]
  rows = {
    name: [
      shown(config[name], LONGEST) or "(empty)" if name in config else ""
      for config in configs
    ]
    for name in _differing(runs)
  }
  if not rows:
    return [note("The configs are the same.")]
  alone: dict[str, dict[str, list[str]]] = {}
  for name, values in rows.items():
    single = [
      run for run, v in zip(runs, values, strict=True) if values.count(v) == 1
    ]
    if len(runs) > 2 and len(single) == 1:
      alone.setdefault(single[0], {})[name] = values
  folded = {run: of for run, of in alone.items() if len(of) > MOST_ALONE}
  hidden = {name for of in folded.values() for name in of}
  open_rows = {n: v for n, v in rows.items() if n not in hidden}
  parts = [note("Values of the configs that are not the same.")]
  parts += [_table(open_rows, runs)] if open_rows else []
  parts += [
    tag(
      "details",
      tag("summary", f"{len(of)} more, in which only {run} differs"),
      _table(of, runs),
    )
    for run, of in folded.items()
  ]
  return parts


def _differing(runs: Mapping[str, Run]) -> list[str]:
  """Names the values of the configs that are not the same everywhere."""
  configs = [run.config for run in runs.values()]
  return [
    name
    for name in dict.fromkeys(n for config in configs for n in config)
    if len({repr(config.get(name)) for config in configs}) > 1
  ]


def _table(
  rows: Mapping[str, Sequence[str]], runs: Mapping[str, Run]
) -> Markup:
  return tag("div", counts(rows, ["", *runs]), cls="scroll")


def _results(runs: Mapping[str, Run]) -> list[Markup]:
  """Tabulates the results; those on other data stand apart."""
  parts = []
  for prefix, about in (
    (held_out.HELD_OUT, words.HELD_OUT),
    (held_out.TRAIN_SAMPLE, words.TRAIN_SAMPLE),
  ):
    tables = _on_the_same_data(runs, prefix)
    for together in tables:
      data = f" Measured on the same data: {', '.join(together)}."
      found = measures.groups("", together)
      if found:
        text = about + (data if len(tables) > 1 else "")
        parts += [note(text), *_verdict(found), measures.table(found)]
  if not parts:
    return [note("No run has final results yet.")]
  settings = len(_differing(runs))
  if settings > 1:
    parts.insert(
      0,
      note(
        f"The runs differ in {settings} settings: what is ahead is a run, and "
        "no single setting is shown to be the reason."
      ),
    )
  if len({run.facts["examples seen"] for run in runs.values()}) > 1:
    parts.insert(0, note("The runs did not see the same number of examples."))
  missing = [name for name, run in runs.items() if not run.results]
  if missing:
    parts.insert(0, note(f"Without final results: {', '.join(missing)}."))
  return [note(f"{words.SPREAD} {words.BEST}"), *parts]


def _verdict(found: Sequence[measures.Group]) -> list[Markup]:
  said = measures.verdict(found)
  return [note(said)] if said else []


def _on_the_same_data(
  runs: Mapping[str, Run], prefix: str
) -> list[dict[str, Mapping[str, float]]]:
  """Parts runs whose numbers of images, classes and so on differ.

  Args:
    runs: runs by name.
    prefix: sample that was measured.

  Returns:
    For each data, the results of its runs without the prefix and without
    distances from the root. Runs without results are left out.
  """

  def alike(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    return all(
      one[name] == other[name]
      for name in one.keys() & other.keys()
      if name.rpartition("/")[2] in measures.COUNTS
    )

  parts: list[dict[str, Mapping[str, float]]] = []
  for name, run in runs.items():
    found = {
      metric.removeprefix(f"{prefix}/"): value
      for metric, value in run.results.items()
      if metric.startswith(f"{prefix}/") and "root_distance" not in metric
    }
    if not found:
      continue
    for part in parts:
      if all(alike(found, other) for other in part.values()):
        part[name] = found
        break
    else:
      parts.append({name: found})
  return parts


def _curves(runs: Mapping[str, Run]) -> list[Markup]:
  """Draws each metric of several runs in one plot, results by their data."""
  panels = [
    panel
    for metric, about in CURVES.items()
    for panel in _curve(runs, metric, *about)
  ]
  for prefix in (held_out.HELD_OUT, held_out.TRAIN_SAMPLE):
    tables = _on_the_same_data(runs, prefix)
    ended = {name for together in tables for name in together}
    groups = [*tables, runs.keys() - ended] if len(tables) > 1 else [runs]
    for name in held_out.SUMMARY:
      metric = f"{prefix}/{name}"
      about = (
        measures.title(metric),
        words.quantity(metric),
        measures.explained(metric),
      )
      for together in groups:
        some = {n: run for n, run in runs.items() if n in together}
        panels += _curve(some, metric, *about)
  if not panels:
    return [note("No metrics were written while training.")]
  how = (
    "Each colour is a run, over its training steps. From 100 measurements on, "
    "faint lines are single ones and strong lines their moving average."
  )
  return [note(how), tag("div", *panels, cls="panels")]


def _curve(
  runs: Mapping[str, Run],
  metric: str,
  title: str,
  quantity: str,
  caption: str,
) -> list[Markup]:
  """Draws a metric of the runs that have it; nothing if that is one step."""
  rows = [
    {"step": row["step"], name: row[metric]}
    for name, run in runs.items()
    for row in _with_final(run)
    if metric in row
  ]
  if len({row["step"] for row in rows}) < 2:
    return []
  drawn = [name for name in runs if any(name in row for row in rows)]
  uri = plots.data_uri(plots.curves(rows, drawn, quantity))
  if len(drawn) == 1:
    caption += f" This plot shows {drawn[0]} alone."
  return [figure(uri, title, f"{title} over training steps", caption)]


def _with_final(run: Run) -> list[Mapping[str, Any]]:
  """The history, with the final results at the last step."""
  return [*run.history, {"step": run.config["steps"], **run.results}]
