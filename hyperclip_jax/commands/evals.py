"""The command: python -m hyperclip_jax.commands.evals --model=X --output=DIR.

Runs the tasks of the suite on a trained model, and writes results.json,
results.md and results.html beside the numbers of the paper. A run that was
stopped goes on where it was.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import hyperclip_jax
from hyperclip_jax.evals import catalog, runner
from hyperclip_jax.reports import evaluation, provenance


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the suite; a task that failed makes the exit code 1.

  Args:
    argv: the flags, those of the process if None.
  """
  flags = _parser().parse_args(argv)
  data, output = pathlib.Path(flags.data), pathlib.Path(flags.output)
  try:
    tasks = catalog.choose(flags.tasks)
    if not data.is_dir():
      raise FileNotFoundError(
        f"--data={flags.data}: no such folder; give the one that holds a "
        f"folder of each data set"
      )
    model = hyperclip_jax.load(flags.model)
    output.mkdir(parents=True, exist_ok=True)
  except (ImportError, OSError, ValueError) as error:
    sys.exit(f"error: {error}")
  digest = model.fingerprint
  about = evaluation.About(
    flags.model,
    model.name,
    model.space,
    digest,
    flags.data,
    provenance.parameters(model),
    provenance.devices(),
    provenance.software(),
  )
  outcomes = []
  for outcome in runner.run(model, tasks, data, output, digest):
    outcomes.append(outcome)
    evaluation.write(output, about, outcomes)
    print(evaluation.line(outcome), flush=True)
  absent = sum(outcome.status == "missing" for outcome in outcomes)
  if absent:
    print(
      f"{absent} of {len(outcomes)} tasks lack their data: "
      f"{output / evaluation.PAGE} says where to get it and how to lay it out"
    )
  print(f"written: {output / evaluation.PAGE}")
  if any(outcome.status == "failed" for outcome in outcomes):
    sys.exit(1)


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="python -m hyperclip_jax.commands.evals",
    description="Evaluates a model on public data sets, as the papers do.",
    allow_abbrev=False,
  )
  parser.add_argument(
    "--model", required=True, help="what hyperclip_jax.load takes"
  )
  parser.add_argument(
    "--data", required=True, help="folder that holds the data sets"
  )
  parser.add_argument("--output", required=True, help="folder for the results")
  parser.add_argument(
    "--tasks",
    default="all",
    help=f"all (the default), or some of "
    f"{','.join(task.name for task in catalog.TASKS)}",
  )
  return parser


if __name__ == "__main__":
  main()
