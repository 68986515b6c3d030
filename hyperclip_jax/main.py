"""The command: train, evaluate, or use a trained model."""

import pathlib
import sys
from typing import NoReturn

from hyperclip_jax import console
from hyperclip_jax.training import signals

if __name__ == "__main__":  # from here on: the imports take seconds
  console.outlive()
  signals.listen(sys.argv)

from absl import app, flags, logging

from hyperclip_jax import files
from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.commands import use
from hyperclip_jax.data.feed.faults import TooManyFaults
from hyperclip_jax.evals import held_out
from hyperclip_jax.inference import pretrained
from hyperclip_jax.reports import run as report
from hyperclip_jax.training import cluster, config_tree, log, runs, train
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.dry_run import dry_run

MODES = {
  "train": "trains a model, or goes on with a run (the default)",
  "eval": "evaluates the newest checkpoint of a run and rewrites its report",
  "verify": "looks for damage to the checkpoints of a run",
  "classify": "finds the likeliest labels of images",
  "search": "finds the nearest texts or images to a query",
  "traverse": "walks from an image to the root, or to another image",
}
CONFIG = flags.DEFINE_string(
  "config", None, "Run file, FILE.py or FILE.py:objective."
)
WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run; one with checkpoints is resumed."
)
MODE = flags.DEFINE_enum("mode", "train", [*MODES], "What to do.")
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

# The flags of each mode, and those of all, which launchers add.
USES = {
  "train": ("config", "workdir", "dry_run"),
  "eval": ("workdir",),
  "verify": ("workdir",),
} | use.USES
SHARED = ("mode", "coordinator", "processes", "process", "stopped_code")
# What an evaluation reads of a config beside the model: where its data lie.
EVAL_READS = (
  "data.held_out",
  "data.index_folder",
  "data.min_side",
  "data.on_bad_shard",
  "data.shards",
  "shapes.folder",
)


def main(argv: list[str]) -> None:
  """Does what --mode says; bad input ends in one message and exit code 1."""
  if flags.FLAGS.verbosity <= 0:
    logging.set_verbosity(logging.WARNING)  # Orbax logs every step of a save.
  try:
    overrides = checked(argv)
    cluster.join(COORDINATOR.value, PROCESSES.value, PROCESS.value)
    if MODE.value in use.COMMANDS:
      if code := use.run(MODE.value):
        sys.exit(code)
      return
    if not WORKDIR.value:
      raise ValueError("give --workdir, the folder of the run")
    workdir = files.expanded(WORKDIR.value)
    if MODE.value == "verify":
      sys.exit(verify(workdir))
    if MODE.value == "eval":
      config, data = evaluated(workdir, overrides)
      model = pretrained.load(workdir)
    else:
      config, data, model = runs.anchored(trained_by(overrides)), None, None
      run = runs.prepare(config, workdir)
  except (ImportError, ValueError, OSError) as error:
    fail(error)

  if DRY_RUN.value:
    dry_run(run)
    return
  try:
    model = model or train.train(run)
  except (FloatingPointError, OSError, TooManyFaults) as error:
    fail(error)
  if model is None:
    sys.exit(STOPPED_CODE.value)
  data = data or runs.sample(config, run.sources)
  report.evaluate(workdir, config, model, data)
  signals.done()


def checked(argv: list[str]) -> list[config_tree.Override]:
  """Refuses arguments that the mode would ignore; returns the overrides.

  Args:
    argv: the program, and what `parse_flags` left.

  Raises:
    ValueError: stray arguments, or flags of other modes.
  """
  mode = MODE.value
  stray, overrides = config_tree.split(argv[1:])
  if stray:
    raise ValueError(
      f"stray arguments: {' '.join(stray)}; write --NAME=VALUE, and quote globs"
    )
  every = {name for names in USES.values() for name in names}
  problems = [
    _foreign(name)
    for name in sorted(every - {*USES[mode]})
    if flags.FLAGS[name].present
  ]
  allowed = {"train": None, "eval": EVAL_READS}.get(mode, ())
  problems += [
    f"--config.{name}={value} changes nothing with --mode={mode}"
    for name, value in overrides
    if allowed is not None and name not in allowed
  ]
  if problems and mode == "eval":
    kept = [
      f"--config.{n}={value}" for n, value in overrides if n in EVAL_READS
    ]
    workdir = files.expanded(WORKDIR.value or "")
    problems.append(
      f"--mode=eval reads the config of the run in {workdir}, and takes where "
      f"its data lie: {' '.join(kept) or '--config.shapes.folder=FOLDER'}"
    )
  if problems:
    raise ValueError("\n  ".join(problems))
  return overrides


def _foreign(name: str) -> str:
  """The message of a flag that other modes have."""
  modes = "|".join(mode for mode in USES if name in USES[mode])
  message = f"--{name} is a flag of --mode={modes}, not of --mode={MODE.value}"
  values = dict(config_tree.leaves(config_lib.paper()))
  if name in values and MODE.value == "train":
    message += f"; --config.{name} sets the run's"
  return message


def trained_by(overrides: list[config_tree.Override]) -> config_lib.Config:
  """The config that --config and the overrides make.

  Raises:
    ValueError, OSError: what is wrong with them.
  """
  if CONFIG.value is None:
    raise ValueError("give --config, such as configs/shapes_tiny.py")
  config = config_tree.load(CONFIG.value)
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


def verify(workdir: pathlib.Path) -> int:
  """Says of each checkpoint whether it is good; the exit code is 1 or 0."""
  found = checkpoint.verify(workdir)
  for step, problem in found.items():
    log.say(f"step {step}: {problem or 'good'}")
  return int(any(found.values()))


def fail(error: Exception) -> NoReturn:
  """Ends the process with one message, harmless on a terminal."""
  lines = str(error).split("\n")
  sys.exit("error: " + "\n".join(files.shown(line, 4000) for line in lines))


def parse_flags(argv: list[str]) -> list[str]:
  """Parses all flags but `--config.NAME`.

  Args:
    argv: the program and its arguments.

  Returns:
    The program, what is no flag, and the overrides of the config.
  """
  argv = [argv[0], *flags.FLAGS.read_flags_from_files(argv[1:], False)]
  if {"-h", "--help", "--helpshort", "-help"} & {*argv}:
    print(usage())
    sys.exit(0)
  rest, overrides = config_tree.split(argv)
  try:
    rest = flags.FLAGS(rest)
  except flags.Error as error:
    fail(error)
  return rest + [f"--config.{name}={value}" for name, value in overrides]


def usage() -> str:
  """The text of --help: the flags of each mode, the values of a config."""
  lines = ["python -m hyperclip_jax.main [--mode=MODE] --NAME=VALUE ..."]
  for mode, purpose in MODES.items():
    lines += ["", f"--mode={mode}  {purpose}", *map(_described, USES[mode])]
  lines += ["", "Any mode", *map(_described, SHARED), "", use.LISTS, ""]
  lines += ["Values of a config to train with, here of the paper's recipe:"]
  values = config_tree.leaves(config_lib.paper())
  lines += [f"  --config.{name}={value}" for name, value in values]
  return "\n".join(lines)


def _described(name: str) -> str:
  purpose = flags.FLAGS[name].help.partition(";\n")[0]  # absl adds to lists.
  return f"  {'--' + name:16} {purpose}"


if __name__ == "__main__":
  app.run(main, flags_parser=parse_flags)
