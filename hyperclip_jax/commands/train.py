"""Commands that work on a run: train, eval, verify."""

import argparse
import pathlib

from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.commands.door import fail
from hyperclip_jax.data.feed.faults import TooManyFaults
from hyperclip_jax.evals import held_out
from hyperclip_jax.inference import pretrained
from hyperclip_jax.reports import run as report
from hyperclip_jax.training import (
  cluster,
  config_tree,
  progress,
  runs,
  signals,
  sources,
)
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training import train as training
from hyperclip_jax.training.dry_run import dry_run


def train(options: argparse.Namespace) -> int:
  """Trains a model and writes the report of the run."""
  try:
    join(options)
    config = runs.anchored(trained_by(options))
    run = runs.prepare(config, options.workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  if options.dry_run:
    dry_run(run)
    return 0
  try:
    model = training.train(run, options.verbose)
  except (FloatingPointError, OSError, TooManyFaults) as error:
    fail(error)
  if model is None:
    return options.stopped_code or 0
  sample = sources.sample(run.config, run.sources)
  report.evaluate(options.workdir, run.config, model, sample)
  signals.done()
  return 0


def evaluate(options: argparse.Namespace) -> None:
  """Evaluates the newest checkpoint of a run and rewrites its report."""
  try:
    join(options)
    config, sample = evaluated(
      options.workdir, options.overrides, options.trust_system
    )
    model = pretrained.load(options.workdir, trust_system=config.trust_system)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  report.evaluate(options.workdir, config, model, sample)
  signals.done()


def verify(options: argparse.Namespace) -> int:
  """Reports for each checkpoint whether it is good; returns 1 if any is bad."""
  try:
    join(options)
    found = checkpoint.verify(options.workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)
  for step, problem in found.items():
    progress.say(f"step {step}: {problem or 'good'}")
  return int(any(found.values()))


def join(options: argparse.Namespace) -> None:
  """Connects to the other processes of the command, if there are any.

  Raises:
    ValueError: the flags are incomplete or malformed.
    ConnectionError: this process cannot join.
  """
  cluster.join(options.coordinator, options.processes, options.process)


def trained_by(options: argparse.Namespace) -> config_lib.Config:
  """Reads a config, or that of the run in the workdir, and applies overrides.

  Args:
    options: values of the flags `config`, `workdir` and `extend`, and
      `overrides` of the config.

  Returns:
    Config to train by.

  Raises:
    ValueError: a name or value is invalid.
    OSError: the config cannot be read.
  """
  if options.config is not None:
    config = config_tree.load(options.config)
  elif (options.workdir / config_lib.FILE).exists():
    trusted = any(name == "trust_system" for name, _ in options.overrides)
    config = config_lib.read(options.workdir, trusted)
  else:
    raise FileNotFoundError(
      f"{options.workdir} holds no run yet: give --config=FILE to start one"
    )
  config_lib.override(config, options.overrides)
  config_lib.fill(config)
  if options.extend is not None:
    config.steps = options.extend
    config.checkpoint.allow_steps_change = True
  return config


def evaluated(
  workdir: pathlib.Path,
  overrides: list[config_tree.Override],
  trust_system: bool = False,
) -> tuple[config_lib.Config, held_out.Sample]:
  """Reads the config of a run, and the records to evaluate on.

  Args:
    workdir: folder of the run.
    overrides: dotted names and values, such as the place of moved data.
    trust_system: see `config.read`.

  Returns:
    Config with the overrides, and the records.

  Raises:
    ValueError: there is no run, or an override is invalid.
    OSError: the data cannot be read.
  """
  config = config_lib.read(workdir, trust_system)
  config_lib.override(config, overrides)
  config_lib.validate(config, config.mesh.model)
  try:
    return config, sources.sample(config)
  except FileNotFoundError as error:
    raise FileNotFoundError(
      f"{error}; if the run's data have moved, say where: "
      "--config.shapes.folder=FOLDER, --config.data.held_out=GLOB or "
      "--config.data.shards=GLOB"
    ) from error
