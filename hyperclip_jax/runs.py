"""What a run is made of, and all that can be checked before it works."""

import dataclasses
import json
import pathlib

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hyperclip_jax import config as config_lib
from hyperclip_jax import sharding
from hyperclip_jax.config import Config
from hyperclip_jax.data import preview, shapes
from hyperclip_jax.data.shards import TarSource, expand
from hyperclip_jax.evals import suite
from hyperclip_jax.objectives import USES_BOXES
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
  if config.objective.name in USES_BOXES:
    preview.check(sources)
  return Run(config, workdir, sources, mesh)


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
    shapes.generate(
      pathlib.Path(config.folder),
      train=config.train,
      val=config.val,
      objects=config.objects,
      image_size=config.image_size,
      seed=config.seed,
    )
  multihost_utils.sync_global_devices("shapes")
