"""Commands on a run: train, eval, verify."""

import argparse
import pathlib

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.feed.faults import TooManyFaults
from hyperclip_jax.evals import held_out
from hyperclip_jax.inference import pretrained
from hyperclip_jax.reports import run as report
from hyperclip_jax.training import cluster, config_tree, log, runs, signals
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import train as training
from hyperclip_jax.training.dry_run import dry_run


def train(options: argparse.Namespace) -> int:
  """Trains a model and writes the report of the run."""
  try:
    join(options)
    config = runs.anchored(trained_by(options.config, options.overrides))
    run = runs.prepare(config, options.workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  if options.dry_run:
    dry_run(run)
    return 0
  try:
    model = training.train(run)
  except (FloatingPointError, OSError, TooManyFaults) as error:
    fail(error)
  if model is None:
    return options.stopped_code or 0
  sample = runs.sample(config, run.sources)
  report.evaluate(options.workdir, config, model, sample)
  signals.done()
  return 0


def evaluate(options: argparse.Namespace) -> None:
  """Evaluates the newest checkpoint of a run and rewrites its report."""
  try:
    join(options)
    config, sample = evaluated(options.workdir, options.overrides)
    model = pretrained.load(options.workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  report.evaluate(options.workdir, config, model, sample)
  signals.done()


def verify(options: argparse.Namespace) -> int:
  """Says of each checkpoint whether it is good; the exit code is 1 or 0."""
  try:
    join(options)
    found = checkpoint.verify(options.workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  for step, problem in found.items():
    log.say(f"step {step}: {problem or 'good'}")
  return int(any(found.values()))


def join(options: argparse.Namespace) -> None:
  """Meets the other processes of the command, if there are any.

  Raises:
    ValueError, ConnectionError: as `cluster.join`.
  """
  cluster.join(options.coordinator, options.processes, options.process)


def trained_by(
  spec: str, overrides: list[config_tree.Override]
) -> config_lib.Config:
  """The config that a file and the overrides make.

  Args:
    spec: FILE.py or FILE.py:ARGUMENT.
    overrides: dotted names and values.

  Raises:
    ValueError, OSError: what is wrong with them.
  """
  config = config_tree.load(spec)
  config_tree.override(config, overrides)
  like = config_lib.reference(config)
  # Those of the objective's arguments depend on its name: `validate` says so.
  unknown = [
    problem
    for problem in config_tree.name_problems(config, like)
    if not problem.startswith("config.objective.args.")
  ]
  if unknown:
    raise ValueError("bad config:\n  " + "\n  ".join(unknown))
  return config


def evaluated(
  workdir: pathlib.Path, overrides: list[config_tree.Override]
) -> tuple[config_lib.Config, held_out.Sample]:
  """The config of a run with the overrides, and the records to measure.

  Raises:
    ValueError, OSError: there is no run, or its data are not there.
  """
  config = pretrained.read_config(workdir)
  config_tree.override(config, overrides)
  config_lib.validate(config, config.mesh.model)
  try:
    return config, runs.sample(config)
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"{error}; if the run's data have moved, say where: "
      "--config.shapes.folder=FOLDER, --config.data.held_out=GLOB or "
      "--config.data.shards=GLOB"
    ) from error
