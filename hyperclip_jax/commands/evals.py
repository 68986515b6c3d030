"""The command evals: evaluates models on public data sets."""

import argparse
import pathlib
import re
from collections.abc import Sequence

import hyperclip_jax
from hyperclip_jax.commands.door import fail
from hyperclip_jax.evals import catalog, runner
from hyperclip_jax.evals.tasks import Task
from hyperclip_jax.reports import evaluation, measures, provenance


def evals(options: argparse.Namespace) -> int:
  """Runs the tasks with each model; returns 1 if any failed."""
  data, output = options.data, options.output
  names = measures.names(options.model)
  found: dict[str, tuple[evaluation.About, list[runner.Outcome]]] = {}
  try:
    if len({*options.model}) < len(options.model):
      raise ValueError(f"--model: a model is given twice: {options.model}")
    tasks = catalog.choose(options.tasks)
    if not data.is_dir():
      raise FileNotFoundError(
        f"--data={data}: no such folder; give the one that holds a "
        f"folder of each data set"
      )
    # All are loaded first: one that cannot be ends the command at once.
    models = [
      hyperclip_jax.load(path, trust_system=options.trust_system)
      for path in options.model
    ]
    for name, path, model in zip(names, options.model, models, strict=True):
      folder = output / _folder(name) if len(names) > 1 else output
      folder.mkdir(parents=True, exist_ok=True)
      if len(names) > 1:
        print(f"{name}:", flush=True)
      found[name] = _evaluate(model, path, tasks, data, folder)
      if len(names) > 1:
        evaluation.compare(output, found)
  except (ImportError, OSError, ValueError) as error:
    fail(error)
  outcomes = [outcome for _, of in found.values() for outcome in of]
  _say_where(output, outcomes)
  return int(any(outcome.status == "failed" for outcome in outcomes))


def _evaluate(
  model: hyperclip_jax.HyperCLIP,
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
    evaluation.write(folder, about, outcomes)
    print(evaluation.line(outcome), flush=True)
  return about, outcomes


def _folder(name: str) -> str:
  """Makes a plain folder's name of a model's, which may be a path."""
  return re.sub(r"[^\w.-]+", "-", name).strip("-.") or "model"


def _say_where(output: pathlib.Path, outcomes: list[runner.Outcome]) -> None:
  """Prints where the results are, and what is missing."""
  absent = sum(outcome.status == "missing" for outcome in outcomes)
  if absent:
    print(
      f"{absent} of {len(outcomes)} tasks lack their data: "
      f"{output / evaluation.PAGE} says where to get it and how to arrange it"
    )
  print(f"written: {output / evaluation.PAGE}")
