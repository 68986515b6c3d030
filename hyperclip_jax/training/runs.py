"""What a run is made of, and all that can be checked before it works."""

import contextlib
import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hyperclip_jax import console, files, sections
from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.records import identity, preview, shards
from hyperclip_jax.data.records.identity import Shard
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.evals import held_out
from hyperclip_jax.files import shown
from hyperclip_jax.systems.task import Task
from hyperclip_jax.training import build, sharding, signals
from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.config_tree import leaves

# What may differ between a run and its continuation.
MAY_CHANGE = (
  "checkpoint.",
  "data.held_out",
  "data.index_folder",
  "data.max_bad",
  "data.prefetch",
  "data.slow_seconds",
  "data.shards",
  "data.threads",
  "eval_every",
  "log_every",
  "max_bad_steps",
  "mesh.",
  "micro_batches",
  "model.contrast",
  "model.remat",
  "model.unroll",
  "profile.",
  "shapes.folder",
  "stall_seconds",
)


@dataclasses.dataclass(frozen=True)
class Run:
  """What a run is made of, once its config is known to be good."""

  config: Config
  workdir: pathlib.Path
  sources: list[TarSource]
  mesh: Mesh

  @functools.cached_property
  def task(self) -> Task:
    """The task of its system."""
    return build.task(self.config, self.mesh)


def prepare(config: Config, workdir: pathlib.Path) -> Run:
  """Checks all that can be checked before any work.

  Makes the embedded data set on first use.

  Raises:
    ValueError, OSError: what is wrong with the config, workdir or data.
  """
  config_lib.validate(config, jax.device_count())
  _check_name(workdir)
  newest = max(checkpoint.steps(workdir), default=0)
  _check_workdir(config, workdir, newest)
  signals.expect(newest)
  if "shapes" in config:
    _make_shapes(config.shapes)
  _check_cpus(config.data.threads)
  mesh = sharding.make_mesh(config.mesh.model)
  sources = _same_sources(open_sources(config, workdir))
  _held_out(config)
  run = Run(config, workdir, sources, mesh)
  if config.micro_batches > 1 and not run.task.micro_batches:
    raise ValueError(
      f"config.micro_batches must be 1, found {config.micro_batches}: "
      f"{config.system} keeps statistics of whole batches"
    )
  if "part" in run.task.views:
    preview.check(sources)
  return run


def anchored(config: Config) -> Config:
  """The config with absolute paths, so that its run is found from anywhere."""
  config = config.copy_and_resolve_references()
  for name, cls in (("data", config_lib.Data), ("shapes", config_lib.Shapes)):
    section = config.get(name)
    if not isinstance(section, ConfigDict):
      continue  # `validate` names it
    for key, several in sections.paths(cls).items():
      given = section[key]
      if isinstance(given, str) and given:
        patterns = shards.split(given) if several else [given]
        section[key] = ",".join(map(_absolute, patterns))
  if config.get("start"):
    config.start = _of_model(config.start)
  with contextlib.suppress(AttributeError, KeyError, ValueError):  # `validate`
    for key in sections.files(build.system(config).Options):
      if config.model[key]:
        config.model[key] = _of_model(config.model[key])
  return config


def _of_model(path: str) -> str:
  """An absolute path, unless the hub is meant."""
  return path if path.startswith(files.HUB) else _absolute(path)


def _absolute(path: str) -> str:
  return os.path.abspath(os.path.expanduser(path.strip()))


def open_sources(
  config: Config, workdir: pathlib.Path | None = None
) -> list[TarSource]:
  """The training records: the embedded data set's, or `data.shards`.

  One source, or one for each pattern where these have weights.

  Args:
    config: what to open.
    workdir: of a run, whose checkpoints go on without the shards that it left
      out, though they can be read by now.

  Raises:
    ValueError, OSError: a shard is bad, unless such are left out.
  """
  patterns = shards.split(config.data.shards)
  sources = [
    _source(config, found)
    for found in (patterns if config.data.weights else [patterns])
  ]
  known: list[list[str]] = []
  if workdir and not config.checkpoint.allow_data_change:
    known = identity.left_out(workdir) if checkpoint.steps(workdir) else []
  if len(known) != len(sources):
    return sources
  return [
    source.without(dict.fromkeys(names, "left out since the run started"))
    for source, names in zip(sources, known, strict=True)
  ]


def sample(
  config: Config, sources: list[TarSource] | None = None
) -> held_out.Sample:
  """The records that evaluations measure.

  They are those of `data.held_out`, or else the first training records, and
  named so.

  Args:
    config: the config of the run.
    sources: the training records if they are open already.

  Raises:
    ValueError, OSError: a shard is bad, or no record is good.
  """
  source, name = _held_out(config), held_out.HELD_OUT
  if source is None:
    source, name = (sources or open_sources(config))[0], held_out.TRAIN_SAMPLE
  data = config.data
  folder = config.shapes.folder if "shapes" in config else ""
  return held_out.load(
    folder, source, data.min_side, name=name, upright=data.upright
  )


def _held_out(config: Config) -> TarSource | None:
  """The records of `data.held_out`; None where it is empty.

  The training shards may be missing: a run is evaluated without them.

  Raises:
    ValueError: one of the shards is trained on.
  """
  if not config.data.held_out:
    return None
  trained = set()
  for pattern in shards.split(config.data.shards):
    with contextlib.suppress(FileNotFoundError):
      trained |= {_identity(path) for path in shards.expand(pattern)}
  patterns = shards.split(config.data.held_out)
  paths = shards.expand(patterns)
  both = [path for path in paths if _identity(path) in trained]
  if both:
    raise ValueError(
      f"config.data.held_out: {len(both)} of {len(paths)} shards are training "
      f"shards too, such as {shown(both[0])}; hold others out of data.shards"
    )
  return _source(config, patterns)


def _identity(path: str) -> tuple[int, int]:
  """What all names and links of one file have in common."""
  found = os.stat(path)
  return found.st_dev, found.st_ino


def _source(config: Config, globs: str | list[str]) -> TarSource:
  return TarSource(
    shards.expand(globs),
    config.data.min_side,
    skip_bad=config.data.on_bad_shard == "skip",
    index_folder=config.data.index_folder,
    upright=config.data.upright,
  )


def summary(run: Run, parameters: int, step: int) -> str:
  """Describes a run in three lines, to be printed before its first step.

  Args:
    run: the run.
    parameters: number of the model's parameters.
    step: number of steps done.
  """
  config, devices = run.config, jax.devices()
  records, count = sum(map(len, run.sources)), jax.process_count()
  processes = f" in {count} processes" if count > 1 else ""
  return (
    f"{config.system}: {parameters:,} parameters, {records:,} records, "
    f"batches of {config.batch_size:,}, steps {step + 1:,} to "
    f"{config.steps:,}\n"
    f"{len(devices)} x {devices[0].device_kind}{processes}; the run is written "
    f"to {run.workdir}\n"
    "XLA compiles the first step now, which may take minutes"
  )


def _check_cpus(threads: int) -> None:
  """Warns where a scheduler gives this process fewer CPUs than it needs."""
  if not hasattr(os, "sched_getaffinity"):
    return
  mine, there = len(os.sched_getaffinity(0)), os.cpu_count() or 1
  if mine < min(threads, there):
    logging.warning(
      "this process may use %d of the %d CPUs here, fewer than the %d threads "
      "of the loader: ask the scheduler for more (--cpus of launch.slurm), or "
      "lower config.data.threads",
      mine,
      there,
      threads,
    )


def _check_name(workdir: pathlib.Path) -> None:
  """Parts of Orbax take names of files as UTF-8, whatever the locale."""
  try:
    str(workdir.absolute()).encode()
  except UnicodeEncodeError as error:
    raise ValueError(
      f"{shown(workdir)}: the name is not UTF-8 to Python here (LC_ALL="
      f"{os.environ.get('LC_ALL', '')}): set PYTHONUTF8=1 or LC_ALL=C.UTF-8, "
      "or give another --workdir"
    ) from error


def _check_workdir(config: Config, workdir: pathlib.Path, newest: int) -> None:
  """A workdir goes on with the config it began with.

  Args:
    config: as given now.
    workdir: folder of the run.
    newest: step of its newest checkpoint; 0 if there is none.
  """
  if not (workdir / config_lib.FILE).exists():
    return
  before, now = (
    dict(leaves(ConfigDict(json.loads(tree.to_json()))))
    for tree in (config_lib.read(workdir), config)
  )
  may_change = MAY_CHANGE
  if config.checkpoint.allow_batch_size_change:
    may_change += ("batch_size",)
  if config.checkpoint.allow_steps_change:
    may_change += ("steps",)
    if newest > config.steps:
      raise ValueError(
        f"{workdir} has made {newest} steps: config.steps must be as many at "
        f"least, found {config.steps}"
      )
  changed = [
    f"config.{name} was {before.get(name)}, now {now.get(name)}"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name) and not name.startswith(may_change)
  ]
  if any(line.startswith("config.steps ") for line in changed):
    changed.append(
      "the learning rate would follow the schedule of the new length: with "
      "--config.checkpoint.allow_steps_change it does, from here on"
    )
  if changed:
    raise ValueError(
      f"{workdir} holds a run with another config; give another --workdir or "
      "the old values:\n  " + "\n  ".join(changed)
    )


def check_data(run: Run, meta: Mapping[str, Any]) -> None:
  """Checks that a run reads what its checkpoint was trained on.

  Args:
    run: the run, with its sources.
    meta: of the checkpoint that it goes on from.

  Raises:
    DataChangedError: it reads other data, and the config does not allow it.
  """
  now = [source.shards for source in run.sources]
  known = meta.get("data")  # None: as an earlier release saved it
  if known in (None, identity.digest(now)):
    return
  before = identity.recall(run.workdir, str(known))
  if before is None:
    changes = [f"how is not known, for {identity.FILE} does not tell of them"]
  else:
    reasons: dict[str, str] = {}
    for source in run.sources:
      reasons |= source.left_out
    changes = identity.differences(before, now, reasons)
  what = "\n  ".join(changes)
  position = f"{meta['examples_seen']:,}"
  if run.config.checkpoint.allow_data_change:
    logging.warning(
      "from example %s on the data are others:\n  %s", position, what
    )
    return
  raise identity.DataChangedError(
    f"{run.workdir} was trained on other data:\n  {what}\nGive it the same "
    "shards again; or, to go on with these in another order from example "
    f"{position} on, --config.checkpoint.allow_data_change"
  )


def remember_data(run: Run) -> None:
  """Writes down in the workdir what the run reads and what it leaves out."""
  identity.remember(
    run.workdir,
    [source.shards for source in run.sources],
    [list(source.left_out) for source in run.sources],
  )


def _same_sources(sources: list[TarSource]) -> list[TarSource]:
  """Sources that all processes have alike, or they would drift apart.

  Shards that one process leaves out, all leave out.

  Raises:
    ValueError: they read different data.
  """
  if jax.process_count() == 1:
    return sources
  left_out = [list(source.left_out) for source in sources]
  of_all = [json.loads(text) for text in _gather(json.dumps(left_out))]
  for number, rows in enumerate(of_all):
    sources = [
      source.without(dict.fromkeys(names, f"process {number} cannot read it"))
      for source, names in zip(sources, rows, strict=True)
    ]
  now = [source.shards for source in sources]
  digests = _gather(identity.digest(now))
  if len(set(digests)) == 1:
    return sources
  found = [
    [[Shard(*row) for row in rows] for rows in json.loads(text)]
    for text in _gather(json.dumps(now))
  ]
  lines = [
    f"process {number}, beside process 0: {line}"
    for number, rows in enumerate(found)
    for line in identity.differences(found[0], rows)
  ]
  raise ValueError(
    "the processes found different data; give each the same files in the same "
    "state:\n  " + "\n  ".join(lines[: identity.SHOWN])
  )


def _gather(text: str) -> list[str]:
  """A text of each process, in their order."""
  data = np.frombuffer(text.encode(), np.uint8)
  size = np.array([len(data)], np.int32)
  sizes = np.asarray(multihost_utils.process_allgather(size)).reshape(-1)
  padded = np.pad(data, (0, int(sizes.max()) - len(data)))
  rows = np.asarray(multihost_utils.process_allgather(padded))
  return [
    row[:size].tobytes().decode()
    for row, size in zip(rows.reshape(len(sizes), -1), sizes, strict=True)
  ]


def _make_shapes(config: Config) -> None:
  """Writes the embedded data set once, on the first process."""
  if jax.process_index() == 0:
    if not pathlib.Path(config.folder).exists():
      console.say(f"drawing {config.train:,} shapes into {config.folder}, once")
    shapes.generate(
      pathlib.Path(config.folder),
      train=config.train,
      val=config.val,
      objects=config.objects,
      image_size=config.image_size,
      seed=config.seed,
    )
  multihost_utils.sync_global_devices("shapes")
