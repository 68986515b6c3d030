"""The command evals: evaluates models on public data sets."""

import argparse
import math
import pathlib
import re
from collections.abc import Mapping, Sequence

import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.commands.door import fail
from hyperclip_jax.evals import catalog, processes, runner
from hyperclip_jax.evals.processes import Fault
from hyperclip_jax.evals.tasks import Task
from hyperclip_jax.reports import evaluation, measures, provenance
from hyperclip_jax.training import cluster, signals


def evals(options: argparse.Namespace) -> int:
  """Runs the tasks with each model; returns 1 if any failed."""
  output, several = options.output, len(options.model) > 1
  names = measures.names(options.model)
  found: dict[str, tuple[evaluation.About, list[runner.Outcome]]] = {}
  try:
    cluster.join(options.coordinator, options.processes, options.process)
    tasks, models = _asked(options)
    digests = [model.fingerprint for model in models]
    processes.agree(
      "models or tasks", [*digests, *(task.name for task in tasks)]
    )
    for name, path, model in zip(names, options.model, models, strict=True):
      folder = output / _folder(name) if several else output
      if processes.first():
        folder.mkdir(parents=True, exist_ok=True)
        if several:
          print(f"{name}:", flush=True)
      found[name] = _evaluate(model, path, tasks, options.data, folder)
      if several and processes.first():
        evaluation.compare(output, found)
  except (ImportError, OSError, ValueError, processes.Failed) as error:
    fail(error)
  outcomes = {name: of for name, (_, of) in found.items()}
  if processes.first():
    _say_where(output, outcomes)
  signals.done()
  every = (outcome for of in outcomes.values() for outcome in of)
  return int(any(outcome.status == "failed" for outcome in every))


def _evaluate(
  model: HyperCLIP,
  path: str,
  tasks: Sequence[Task],
  data: pathlib.Path,
  folder: pathlib.Path,
) -> tuple[evaluation.About, list[runner.Outcome]]:
  """Runs the tasks with a model, and writes its results after each."""
  about = evaluation.About(
    path,
    model.system,
    model.space,
    model.fingerprint,
    str(data),
    provenance.parameters(model),
    provenance.devices(),
    provenance.software(),
  )
  outcomes = []
  for outcome in runner.run(model, tasks, data, folder, model.fingerprint):
    outcomes.append(outcome)
    if processes.first():
      evaluation.write(folder, about, outcomes)
      print(evaluation.line(outcome), flush=True)
  return about, outcomes


def _folder(name: str) -> str:
  """Makes a plain folder's name of a model's, which may be a path."""
  return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def _asked(options: argparse.Namespace) -> tuple[list[Task], list[HyperCLIP]]:
  """Looks up the tasks and loads all models, before any is evaluated.

  Raises:
    processes.Failed: one cannot be had, on this process or another.
  """
  try:
    if len({*options.model}) < len(options.model):
      raise ValueError(f"--model: a model is given twice: {options.model}")
    tasks = catalog.choose(options.tasks)
    if not options.data.is_dir():
      raise FileNotFoundError(
        f"--data={options.data}: no such folder; give the one that holds a "
        f"folder of each data set"
      )
    models = [
      hyperclip_jax.load(path, trust_system=options.trust_system)
      for path in options.model
    ]
  except (ImportError, OSError, ValueError) as error:
    processes.gather(fault=Fault("failed", str(error)))
    raise
  processes.gather()
  return tasks, models


def _say_where(
  output: pathlib.Path, found: Mapping[str, Sequence[runner.Outcome]]
) -> None:
  """Prints means, where the results are, and what is missing."""
  for name, outcomes in found.items():
    of = f"{name}: " if len(found) > 1 else ""
    for mean in evaluation.means(outcomes).values():
      if not math.isnan(mean.value):
        print(f"{of}{mean.title}: {mean.value:.3f} (mean of {mean.count})")
  outcomes = next(iter(found.values()))
  absent = sum(outcome.status == "missing" for outcome in outcomes)
  if absent:
    print(
      f"{absent} of {len(outcomes)} tasks lack their data: "
      f"{output / evaluation.PAGE} says where to get it and how to arrange it"
    )
  print(f"written: {output / evaluation.PAGE}")
