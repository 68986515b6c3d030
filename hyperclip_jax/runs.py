"""What a run is made of, and all that can be checked before it works."""

import dataclasses
import json
import os
import pathlib
import re

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hyperclip_jax import config as config_lib
from hyperclip_jax import metrics, sharding
from hyperclip_jax.config import Config
from hyperclip_jax.data import shapes
from hyperclip_jax.data.shards import TarSource, expand
from hyperclip_jax.evals import suite
from hyperclip_jax.pretrained import read_config
from hyperclip_jax.release import CONFIG_FILE

# What may differ between a run and its continuation.
MAY_CHANGE = (
  "checkpoint.",
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
  "model.remat",
  "model.unroll",
  "objective.contrast",
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


def prepare(config: Config, workdir: pathlib.Path) -> Run:
  """Checks all that can be checked before any work.

  Makes the embedded data set on first use.

  Raises:
    ValueError, OSError: what is wrong with the config, workdir or data.
  """
  config_lib.validate(config, jax.device_count())
  _check_workdir(config, workdir)
  if config.shapes.folder:
    _make_shapes(config.shapes)
  mesh = sharding.make_mesh(config.mesh.model)
  sources = open_sources(config)
  _check_same(sources)
  return Run(config, workdir, sources, mesh)


def anchored(config: Config) -> Config:
  """The config with absolute paths, so that its run is found from anywhere."""
  config = config.copy_and_resolve_references()
  for section, name in (("shapes", "folder"), ("data", "index_folder")):
    if config[section][name]:
      config[section][name] = _absolute(config[section][name])
  for name in ("shards", "held_out"):
    if globs := config.data.get(name, ""):
      # Commas separate globs, but not within braces.
      parts = re.split(r",(?![^{]*\})", globs)
      config.data[name] = ",".join(_absolute(part.strip()) for part in parts)
  return config


def _absolute(path: str) -> str:
  return os.path.abspath(os.path.expanduser(path))


def open_sources(config: Config) -> list[TarSource]:
  """The training records: the embedded data set's, or `data.shards`.

  One source, or one for each glob where these have weights.

  Raises:
    ValueError, OSError: a shard is bad, unless such are left out.
  """
  data = config.data
  globs = data.shards.split(",")
  if config.shapes.folder:
    globs = [f"{config.shapes.folder}/train/*.tar"]
  return [
    TarSource(
      expand(patterns),
      data.min_side,
      skip_bad=data.on_bad_shard == "skip",
      index_folder=data.index_folder,
    )
    for patterns in (globs if data.weights else [globs])
  ]


def held_out(config: Config, sources: list[TarSource]) -> suite.HeldOut:
  """What evaluations look at."""
  return suite.load(config.shapes.folder, sources[0], config.data.min_side)


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
    f"{config.objective.name}: {parameters:,} parameters, {records:,} records, "
    f"batches of {config.batch_size:,}, steps {step + 1:,} to "
    f"{config.steps:,}\n"
    f"{len(devices)} x {devices[0].device_kind}{processes}; the run is written "
    f"to {run.workdir}\n"
    "XLA compiles the first step now, which may take minutes"
  )


def _check_workdir(config: Config, workdir: pathlib.Path) -> None:
  """A workdir goes on with the config it began with."""
  if not (workdir / CONFIG_FILE).exists():
    return
  before, now = (
    dict(config_lib.leaves(ConfigDict(json.loads(tree.to_json()))))
    for tree in (read_config(workdir), config)
  )
  may_change = MAY_CHANGE
  if config.checkpoint.allow_batch_size_change:
    may_change += ("batch_size",)
  changed = [
    f"config.{name} was {before.get(name)}, now {now.get(name)}"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name) and not name.startswith(may_change)
  ]
  if changed:
    raise ValueError(
      f"{workdir} holds a run with another config; give another --workdir or "
      "the old values:\n  " + "\n  ".join(changed)
    )


def _check_same(sources: list[TarSource]) -> None:
  """All processes must number the records alike, or they would drift apart."""
  counts = np.array([len(source) for source in sources])
  found = np.asarray(multihost_utils.process_allgather(counts))
  found = found.reshape(-1, len(counts))
  if (found != counts[None]).any():
    raise ValueError(
      "processes found different numbers of records, one row a process: "
      f"{found.tolist()}; give each the same files in the same state"
    )


def _make_shapes(config: Config) -> None:
  """Writes the embedded data set once, on the first process."""
  if jax.process_index() == 0:
    if not pathlib.Path(config.folder).exists():
      metrics.say(f"drawing {config.train:,} shapes into {config.folder}, once")
    shapes.generate(
      pathlib.Path(config.folder),
      train=config.train,
      val=config.val,
      objects=config.objects,
      image_size=config.image_size,
      seed=config.seed,
    )
  multihost_utils.sync_global_devices("shapes")
