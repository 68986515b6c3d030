"""The command: train, evaluate, or use a trained model."""

import pathlib
import sys

from hyperclip_jax import console, signals

if __name__ == "__main__":  # from here on: the imports take seconds
  console.outlive()
  signals.listen(sys.argv)

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from hyperclip_jax import (
  checkpoint,
  cluster,
  commands,
  metrics,
  pretrained,
  runs,
  train,
)
from hyperclip_jax.data.faults import TooManyFaults
from hyperclip_jax.dry_run import dry_run
from hyperclip_jax.reports import run as report

CONFIG = config_flags.DEFINE_config_file(
  "config", None, "Run file, FILE.py or FILE.py:objective.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; one with checkpoints is resumed."
)
MODE = flags.DEFINE_enum(
  "mode",
  "train",
  ["train", "eval", "verify", *commands.COMMANDS],
  "eval reports on a trained workdir, verify looks for damage to its "
  "checkpoints; the others use a trained --model.",
)
DRY_RUN = flags.DEFINE_bool(
  "dry_run", False, "Print sizes and costs, read a batch, take one step, end."
)
COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "host:port of process 0; 'auto': by the environment."
)
PROCESSES = flags.DEFINE_integer("processes", None, "How many processes.")
PROCESS = flags.DEFINE_integer("process", None, "The number of this one.")
STOPPED_CODE = flags.DEFINE_integer(
  "stopped_code",
  0,
  "Exit code of a run that was stopped: the same command goes on.",
)
flags.adopt_module_key_flags(commands)  # so that --help tells them


def main(argv: list[str]) -> None:
  """Does what --mode says; bad input ends in one message and exit code 1."""
  if flags.FLAGS.verbosity <= 0:
    logging.set_verbosity(logging.WARNING)  # Orbax tells every step of a save
  try:
    cluster.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    if len(argv) > 1:
      raise ValueError(f"stray arguments: {' '.join(argv[1:])}")
    if MODE.value in commands.COMMANDS:
      commands.run(MODE.value)
      return
    if WORKDIR.value is None:
      raise ValueError("give --workdir, the folder of the run")
    workdir = pathlib.Path(WORKDIR.value)
    if MODE.value == "verify":
      sys.exit(verify(workdir))
    if MODE.value == "eval" and DRY_RUN.value:
      raise ValueError("--dry_run is of --mode=train: drop one of the two")
    if MODE.value == "eval":
      config = pretrained.read_config(workdir)
      data, model = runs.sample(config), pretrained.load(workdir)
    else:
      if CONFIG.value is None:
        raise ValueError("give --config, such as configs/shapes_tiny.py")
      config, data, model = CONFIG.value, None, None
      run = runs.prepare(config, workdir)
  except (ImportError, ValueError, OSError) as error:
    sys.exit(f"error: {error}")

  if DRY_RUN.value:
    dry_run(run)
    return
  try:
    model = model or train.train(run)
  except (FloatingPointError, OSError, TooManyFaults) as error:
    sys.exit(f"error: {error}")
  if model is None:
    sys.exit(STOPPED_CODE.value)
  if jax.process_index() == 0:
    data = data or runs.sample(config, run.sources)
    report.evaluate(workdir, config, model, data)
  signals.done()


def verify(workdir: pathlib.Path) -> int:
  """Says of each checkpoint whether it is good; the exit code is 1 or 0."""
  found = checkpoint.verify(workdir)
  for step, problem in found.items():
    metrics.say(f"step {step}: {problem or 'good'}")
  return int(any(found.values()))


def parse_flags(argv: list[str]) -> list[str]:
  """Parses flags; an override of a value that no config has is an error."""
  try:
    return app.parse_flags_with_usage(argv)
  except (AttributeError, KeyError) as error:
    name = str(error).strip("\"'")
    sys.exit(f"error: a --config.* flag names {name!r}, which no config has")
  except (TypeError, ValueError) as error:
    sys.exit(f"error: bad flag: {error}")


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
