"""Runs evaluation tasks and caches their results.

The output folder keeps each result under its task's name, with the digest of
the model, the version of the task and the folder of the data. It is reused
while all three are the same; delete the file to measure again, such as after a
change of the data.

Several processes run the same tasks together (`jax.distributed`). The first
reads and writes the cache; a task that fails on one of them fails on all.
"""

import json
import math
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

from absl import logging

from hyperclip_jax.evals import processes
from hyperclip_jax.evals.processes import Fault
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

  Every process must call this function, with the same model and tasks.

  Args:
    model: model to evaluate.
    tasks: tasks to run, in this order.
    data: folder of all data sets.
    output: folder in which the first process caches results.
    digest: `HyperCLIP.fingerprint` of the model.

  Yields:
    Outcome of each task.
  """
  folder = output / FOLDER
  if processes.first():
    folder.mkdir(parents=True, exist_ok=True)
  for task in tasks:
    path = folder / f"{task.name}.json"
    key = {
      "format": FORMAT,
      "model": digest,
      "version": task.version,
      "data": str(data.resolve()),
    }
    # what the first process has kept counts, as others may not see its folder
    kept = processes.gather(
      _kept(path, key, task) if processes.first() else None
    )[0]
    outcome = (
      attempt(model, task, data) if kept is None else _outcome(task, kept)
    )
    if outcome.status == "done" and processes.first():
      found = {"results": plain(outcome.results), "seconds": outcome.seconds}
      write_whole(path, json.dumps(key | found, indent=1) + "\n")
    yield outcome


def attempt(model: Model, task: Task, data: pathlib.Path) -> Outcome:
  """Runs a task; its errors are part of the outcome.

  Every process must call this function. The task is done only if it is on all.

  Args:
    model: model to evaluate.
    task: task to run.
    data: folder of all data sets.

  Returns:
    Outcome of the task.
  """
  start = time.perf_counter()
  results, fault = {}, None
  try:
    results = task.run(model, data)
  except processes.Failed as failed:  # at an exchange within the task
    return _ended(task, failed.fault)
  except MissingData as error:
    fault = Fault("missing", str(error), error.brief)
  except (ValueError, OSError) as error:
    fault = Fault("failed", str(error))
  except Exception as error:  # a bug here or in a library must not end the run
    logging.exception("task %s", task.name)
    message = f"{type(error).__name__}: {error}; see the log for its traceback"
    fault = Fault("failed", message)
  try:
    processes.gather(fault=fault)
  except processes.Failed as failed:
    return _ended(task, failed.fault)
  seconds = round(time.perf_counter() - start, 3)
  return Outcome(task, "done", results, seconds=seconds)


def _ended(task: Task, fault: Fault) -> Outcome:
  return Outcome(task, fault.status, {}, fault.message, brief=fault.brief)


def _kept(
  path: pathlib.Path, key: dict[str, Any], task: Task
) -> dict[str, Any] | None:
  """Reads the cached results of a task, and how long they took.

  Returns:
    "results" and "seconds", or None if the key is not the same any more.
  """
  try:
    found = read_json(path)
    if any(found[name] != value for name, value in key.items()):
      return None
    kept = {name: found[name] for name in ("results", "seconds")}
    _outcome(task, kept)
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return None  # no file yet, or not a cached result: it is written anew
  return kept


def _outcome(task: Task, kept: dict[str, Any]) -> Outcome:
  """Makes an outcome of what `_kept` returns."""
  results = {
    str(name): _value(value) for name, value in kept["results"].items()
  }
  return Outcome(task, "done", results, seconds=float(kept["seconds"]))


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
