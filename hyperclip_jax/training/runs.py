"""Opens a run: checks its config, workdir and data before any work."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import shlex
from collections.abc import Sequence

import jax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hyperclip_jax import files, sections, systems
from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.records import preview, shards
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.files import shown
from hyperclip_jax.systems.task import Task
from hyperclip_jax.training import (
  boards,
  build,
  options,
  resume,
  same_data,
  sharding,
  signals,
  sources,
  suite,
)
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.packed import packed
from hyperclip_jax.training.step import TrainState

COMMAND = "command.txt"  # last command that trained, in the workdir


@dataclasses.dataclass(frozen=True)
class Run:
  """A run with a valid config.

  Attributes:
    config: checked config, with absolute paths.
    workdir: folder of the run.
    sources: training records, one source for each weight.
    mesh: device mesh.
  """

  config: Config
  workdir: pathlib.Path
  sources: list[TarSource]
  mesh: Mesh

  @functools.cached_property
  def task(self) -> Task:
    """Task of its system."""
    return build.task(self.config, self.mesh)

  @functools.cached_property
  def shapes(self) -> TrainState:
    """Shapes of its state."""
    return jax.eval_shape(build.init(self.config, self.task))

  @functools.cached_property
  def shardings(self) -> TrainState:
    """Shardings of its state."""
    split, fsdp = self.task.rules.split, self.config.mesh.fsdp
    return sharding.tree_shardings(self.mesh, self.shapes, split, fsdp)


def prepare(config: Config, workdir: pathlib.Path) -> Run:
  """Checks a run before any work, and opens its data.

  Draws the embedded data set on first use.

  Args:
    config: config of the run.
    workdir: folder of the run.

  Returns:
    Run, ready to train.

  Raises:
    ValueError, OSError: config, workdir or data are bad.
    ImportError: a package for an option is missing.
  """
  config_lib.validate(config, jax.device_count())
  _check_name(workdir)
  newest = max(checkpoint.steps(workdir), default=0)
  resume.check(config, workdir, newest)
  signals.expect(newest)
  if config.wandb.project:
    boards.imported()
  suite.check(options.Evals(**config.evals))
  if "shapes" in config:
    sources.draw_shapes(config.shapes)
  config = packed(config, workdir)
  _check_cpus(config.data.threads)
  mesh = sharding.make_mesh(config.mesh.model)
  records = same_data.agreed(sources.training(config, workdir))
  sources.held_out(config)
  run = Run(config, workdir, records, mesh)
  if config.micro_batches > 1 and not run.task.micro_batches:
    raise ValueError(
      f"config.micro_batches must be 1, found {config.micro_batches}: "
      f"{config.system} keeps statistics of whole batches"
    )
  if systems.foreign(config.system):
    build.check_encoder(config, run.shapes.variables)
  if "part" in run.task.views:
    preview.check(records)
  return run


def anchored(config: Config) -> Config:
  """Makes the paths of a config absolute, so that it is valid anywhere."""
  config = config.copy_and_resolve_references()
  for name, cls in (
    ("data", options.Data),
    ("evals", options.Evals),
    ("shapes", options.Shapes),
  ):
    section = config.get(name)
    if not isinstance(section, ConfigDict):
      continue  # reported by `validate`
    for key, several in sections.paths(cls).items():
      given = section[key]
      if isinstance(given, str) and given:
        patterns = shards.split(given) if several else [given]
        section[key] = ",".join(map(_absolute, patterns))
  if config.get("init_from"):
    config.init_from = _of_model(config.init_from)
  with contextlib.suppress(AttributeError, KeyError, ValueError):  # `validate`
    for key in sections.files(build.system(config).Options):
      if config.model[key]:
        config.model[key] = _of_model(config.model[key])
  return config


def _of_model(path: str) -> str:
  """An absolute path, unless the hub or a published name is meant."""
  name = "/" not in path and not os.path.exists(os.path.expanduser(path))
  return path if name or path.startswith(files.HUB) else _absolute(path)


def _absolute(path: str) -> str:
  return os.path.abspath(os.path.expanduser(path.strip()))


def command(argv: Sequence[str]) -> str:
  """Formats the command line of a process, without the place of its program.

  Args:
    argv: `sys.argv`.

  Returns:
    Command line, such as "hyperclip verify --workdir=DIR".
  """
  program = pathlib.PurePath(argv[0]).name if argv else ""
  modules = {"__main__.py": "hyperclip_jax", "main.py": "hyperclip_jax.main"}
  if program in modules:
    program = f"python -m {modules[program]}"
  words = (program, shlex.join(argv[1:]))
  return " ".join(filter(None, words))


def summary(run: Run, parameters: int, step: int) -> str:
  """Describes what a run will do, to be printed before it starts.

  Args:
    run: run to describe.
    parameters: number of the model's parameters.
    step: number of steps done.

  Returns:
    Lines, each with a name in front.
  """
  config, devices, data = run.config, jax.devices(), run.config.data
  records, count = sum(map(len, run.sources)), jax.process_count()
  dtype = config.model.get("dtype", "float32")
  batch = f"batches of {config.batch_size:,}"
  if config.micro_batches > 1:
    batch += f" in {config.micro_batches} micro-batches"
  mesh = " x ".join(f"{n} {name}" for name, n in run.mesh.shape.items())
  if config.mesh.fsdp:
    mesh += ", parameters split too (fsdp)"
  if count > 1:
    mesh += f", {count} processes"
  title = getattr(build.system(config), "TITLE", config.system)
  facts = {
    "system": f"{title}: {parameters:,} parameters, towers in {dtype}",
    "start": shown(config.init_from or "random parameters"),
    "data": f"{records:,} records of {shown(data.shards)}",
    "held out": shown(data.held_out or "nothing: evaluated on training data"),
    "steps": f"{step + 1:,} to {config.steps:,}, {batch}",
    "devices": f"{len(devices)} x {devices[0].device_kind}, mesh of {mesh}",
    "workdir": shown(run.workdir.absolute()),
  }
  if step:
    facts["start"] = f"step {step:,} of this run"
  return "\n".join(f"{name:9} {fact}" for name, fact in facts.items())


def _check_cpus(threads: int) -> None:
  """Warns if a scheduler gives this process fewer CPUs than it needs."""
  if not hasattr(os, "sched_getaffinity"):
    return
  mine, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
  if mine < min(threads, there):
    logging.warning(
      "this process may use %d of %d CPUs, fewer than the %d threads of "
      "the loader: ask the scheduler for more (--cpus of launch.slurm), or "
      "lower config.data.threads",
      mine,
      there,
      threads,
    )


def _check_name(workdir: pathlib.Path) -> None:
  """Checks that a path is UTF-8, which parts of Orbax assume in any locale."""
  try:
    str(workdir.absolute()).encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{shown(workdir)}: the name is not UTF-8 to Python here (LC_ALL="
      f"{os.environ.get('LC_ALL', '')}): set PYTHONUTF8=1 or LC_ALL=C.UTF-8, "
      "or give another --workdir"
    ) from error
