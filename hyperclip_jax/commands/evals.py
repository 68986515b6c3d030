"""The command evals: evaluates a model on public data sets."""

import argparse
import math
import pathlib

import hyperclip_jax
from hyperclip_jax import HyperCLIP
from hyperclip_jax.commands.door import fail
from hyperclip_jax.evals import catalog, processes, runner
from hyperclip_jax.evals.processes import Fault
from hyperclip_jax.evals.tasks import Task
from hyperclip_jax.reports import evaluation, provenance
from hyperclip_jax.training import cluster, signals


def evals(options: argparse.Namespace) -> int:
  """Runs the tasks; returns 1 if any failed."""
  data, output = options.data, options.output
  try:
    cluster.join(options.coordinator, options.processes, options.process)
    tasks, model = _asked(options)
    processes.agree(
      "models or tasks", [model.fingerprint, [task.name for task in tasks]]
    )
    if processes.first():
      output.mkdir(parents=True, exist_ok=True)
  except (ImportError, OSError, ValueError, processes.Failed) as error:
    fail(error)
  about = evaluation.About(
    options.model,
    model.system,
    model.space,
    model.fingerprint,
    str(data),
    provenance.parameters(model),
    provenance.devices(),
    provenance.software(),
  )
  outcomes = []
  for outcome in runner.run(model, tasks, data, output, model.fingerprint):
    outcomes.append(outcome)
    if processes.first():
      evaluation.write(output, about, outcomes)
      print(evaluation.line(outcome), flush=True)
  if processes.first():
    _say_where(output, outcomes)
  signals.done()
  return int(any(outcome.status == "failed" for outcome in outcomes))


def _asked(options: argparse.Namespace) -> tuple[list[Task], HyperCLIP]:
  """Looks up the tasks and loads the model.

  Raises:
    processes.Failed: one cannot be had, on this process or another.
  """
  try:
    tasks = catalog.choose(options.tasks)
    if not options.data.is_dir():
      raise FileNotFoundError(
        f"--data={options.data}: no such folder; give the one that holds a "
        f"folder of each data set"
      )
    model = hyperclip_jax.load(options.model, trust_system=options.trust_system)
  except (ImportError, OSError, ValueError) as error:
    processes.gather(fault=Fault("failed", str(error)))
    raise
  processes.gather()
  return tasks, model


def _say_where(output: pathlib.Path, outcomes: list[runner.Outcome]) -> None:
  """Prints means, where the results are, and what is missing."""
  for mean in evaluation.means(outcomes).values():
    if not math.isnan(mean.value):
      print(f"{mean.title}: {mean.value:.3f} (mean of {mean.count})")
  absent = sum(outcome.status == "missing" for outcome in outcomes)
  if absent:
    print(
      f"{absent} of {len(outcomes)} tasks lack their data: "
      f"{output / evaluation.PAGE} says where to get it and how to arrange it"
    )
  print(f"written: {output / evaluation.PAGE}")
