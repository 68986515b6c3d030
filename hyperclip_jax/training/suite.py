"""Runs tasks of the evaluation suite while training (`config.evals`)."""

import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

from hyperclip_jax.evals import catalog, rates, runner
from hyperclip_jax.files import shown
from hyperclip_jax.inference.protocol import Model
from hyperclip_jax.training import log, progress
from hyperclip_jax.training.options import Evals

PREFIX = "evals/"  # of the names of their results


def check(o: Evals) -> None:
  """Checks names and folder before any work.

  Args:
    o: tasks and their data.

  Raises:
    ValueError: a task is unknown.
    FileNotFoundError: there is no such folder.
  """
  if not o.tasks:
    return
  catalog.choose(o.tasks, "config.evals.tasks")
  if not pathlib.Path(o.data).is_dir():
    raise FileNotFoundError(
      f"config.evals.data={shown(o.data)}: no such folder; give the one that "
      "holds a folder of each data set"
    )


def due(o: Evals, step: int, last: int) -> bool:
  """Checks whether the tasks are to be run after a step.

  Args:
    o: tasks and their schedule.
    step: step that is done; 0 for none.
    last: last step of the run.

  Returns:
    Whether it is the last step or one of the schedule.
  """
  if not o.tasks or step == 0:
    return False
  return step == last or bool(o.every and step % o.every == 0)


def measure(
  o: Evals, model: Model, step: int, alive: Callable[[], None]
) -> dict[str, float]:
  """Runs the tasks; every process must call it.

  A task whose data are missing or damaged is reported and left out.

  Args:
    o: tasks and their data.
    model: model to measure, the same on every process.
    step: its step, for messages.
    alive: called after each task.

  Returns:
    "evals/TASK/MEASURE" -> value; rates are fractions.
  """
  found: dict[str, float] = {}
  for task in catalog.choose(o.tasks, "config.evals.tasks"):
    outcome = runner.attempt(model, task, pathlib.Path(o.data))
    alive()
    if outcome.status != "done":
      why = shown(outcome.brief or outcome.message, 1000)
      progress.say(f"step {step}  {task.name} {outcome.status}: {why}")
      continue
    numbers = {
      name: float(value)
      for name, value in rates.measured(outcome.results).items()
      if isinstance(value, (int, float))
    }
    found |= {f"{PREFIX}{task.name}/{n}": v for n, v in numbers.items()}
    parts = [f"{name} {value:.3f}" for name, value in numbers.items()]
    first = f"step {step}  {task.name} ({outcome.seconds:.0f} s):"
    progress.say(progress.wrapped([first, *parts], ""))
  return found


def measured(workdir: pathlib.Path, step: int) -> bool:
  """Checks whether the metrics of a run have results of a step already.

  Every process must call it; process 0 looks.

  Args:
    workdir: folder of the run.
    step: the step.

  Returns:
    The same on every process.
  """
  found = jax.process_index() == 0 and any(
    row["step"] == step and any(name.startswith(PREFIX) for name in row)
    for row in log.read(workdir, most=2)[-2:]
  )
  return bool(multihost_utils.broadcast_one_to_all(np.bool_(found)))
