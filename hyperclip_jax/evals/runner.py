"""Runs evaluation tasks and caches their results.

The output folder keeps each result under its task's name, with the digest of
the model, the version of the task and the folder of the data. It is reused
while all three are the same; delete the file to measure again, such as after a
change of the data.
"""

import json
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from absl import logging

from hyperclip_jax.evals.tasks import MissingData, Results, Task
from hyperclip_jax.files import read_json, write_whole
from hyperclip_jax.inference.protocol import Model

FORMAT = 2  # of cached results; raised when all tasks return something new
FOLDER = "tasks"  # of cached results, in the output folder


class Outcome(NamedTuple):
  """Outcome of a task.

  Attributes:
    task: task that ran.
    status: "done"; "missing" if its data is missing; or "failed" on an error.
    results: results of the task, if done.
    message: what is missing or went wrong.
    seconds: duration of the run that measured the results.
    brief: message on one line.
  """

  task: Task
  status: Literal["done", "missing", "failed"]
  results: Results
  message: str = ""
  seconds: float = 0.0
  brief: str = ""


def run(
  model: Model,
  tasks: Sequence[Task],
  data: pathlib.Path,
  output: pathlib.Path,
  digest: str,
) -> Iterator[Outcome]:
  """Runs tasks one by one; an error in one does not stop the others.

  Args:
    model: model to evaluate.
    tasks: tasks to run, in this order.
    data: folder of all data sets.
    output: folder in which results are cached.
    digest: `HyperCLIP.fingerprint` of the model.

  Yields:
    Outcome of each task.
  """
  folder = output / FOLDER
  folder.mkdir(parents=True, exist_ok=True)
  for task in tasks:
    path = folder / f"{task.name}.json"
    key = {
      "format": FORMAT,
      "model": digest,
      "version": task.version,
      "data": str(data.resolve()),
    }
    outcome = _kept(path, key, task) or attempt(model, task, data)
    if outcome.status == "done":
      found = {"results": plain(outcome.results), "seconds": outcome.seconds}
      write_whole(path, json.dumps(key | found, indent=1) + "\n")
    yield outcome


def attempt(model: Model, task: Task, data: pathlib.Path) -> Outcome:
  """Runs a task; its errors are part of the outcome.

  Args:
    model: model to evaluate.
    task: task to run.
    data: folder of all data sets.

  Returns:
    Outcome of the task.
  """
  start = time.perf_counter()
  try:
    results = task.run(model, data)
  except MissingData as error:
    return Outcome(task, "missing", {}, str(error), brief=error.brief)
  except (ValueError, OSError) as error:
    return Outcome(task, "failed", {}, str(error))
  except Exception as error:  # a bug here or in a library must not end the run
    logging.exception("task %s", task.name)
    message = f"{type(error).__name__}: {error}; see the log for its traceback"
    return Outcome(task, "failed", {}, message)
  seconds = round(time.perf_counter() - start, 3)
  return Outcome(task, "done", results, seconds=seconds)


def _kept(
  path: pathlib.Path, key: dict[str, Any], task: Task
) -> Outcome | None:
  """Returns the cached outcome of a task if its key is still the same."""
  try:
    found = read_json(path)
    if any(found[name] != value for name, value in key.items()):
      return None
    results = {
      str(name): _value(value) for name, value in found["results"].items()
    }
    seconds = float(found["seconds"])
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None  # no file yet, or not a cached result: it is written anew
  return Outcome(task, "done", results, seconds=seconds)


def _value(value: Any) -> float | list[float] | dict[str, str]:
  """Inverts `plain` for one value."""
  if isinstance(value, dict):
    return {str(name): str(reason) for name, reason in value.items()}
  if isinstance(value, list):
    return [float(number) for number in value]
  return math.nan if value is None else float(value)


def plain(
  results: Results,
) -> dict[str, float | list[float] | dict[str, str] | None]:
  """Converts results to JSON values; NaN and infinity become null."""
  return {
    name: None
    if isinstance(value, (int, float)) and not math.isfinite(value)
    else value
    for name, value in results.items()
  }
