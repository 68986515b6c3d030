"""The command evals: evaluates a model on public data sets."""

import argparse
import pathlib

import hyperclip_jax
from hyperclip_jax.commands.door import fail
from hyperclip_jax.evals import catalog, runner
from hyperclip_jax.reports import evaluation, provenance


def evals(options: argparse.Namespace) -> int:
  """Runs the tasks; returns 1 if any failed."""
  data, output = options.data, options.output
  try:
    tasks = catalog.choose(options.tasks)
    if not data.is_dir():
      raise FileNotFoundError(
        f"--data={data}: no such folder; give the one that holds a "
        f"folder of each data set"
      )
    model = hyperclip_jax.load(options.model, trust_system=options.trust_system)
    output.mkdir(parents=True, exist_ok=True)
  except (ImportError, OSError, ValueError) as error:
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
    evaluation.write(output, about, outcomes)
    print(evaluation.line(outcome), flush=True)
  _say_where(output, outcomes)
  return int(any(outcome.status == "failed" for outcome in outcomes))


def _say_where(output: pathlib.Path, outcomes: list[runner.Outcome]) -> None:
  """Prints where the results are, and what is missing."""
  absent = sum(outcome.status == "missing" for outcome in outcomes)
  if absent:
    print(
      f"{absent} of {len(outcomes)} tasks lack their data: "
      f"{output / evaluation.PAGE} says where to get it and how to arrange it"
    )
  print(f"written: {output / evaluation.PAGE}")
