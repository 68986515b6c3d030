"""What a run is made of, and all that can be checked before it works."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from ml_collections import ConfigDict

from hyperclip_jax import checkpoint, sharding
from hyperclip_jax import config as config_lib
from hyperclip_jax.config import Config
from hyperclip_jax.data import identity, shapes, shards
from hyperclip_jax.data.identity import Shard
from hyperclip_jax.data.shards import TarSource
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
  sources = _same_sources(open_sources(config, workdir))
  return Run(config, workdir, sources, mesh)


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
  data = config.data
  patterns = shards.split(data.shards)
  if config.shapes.folder:
    patterns = [f"{config.shapes.folder}/train"]
  sources = [
    TarSource(
      shards.expand(found),
      data.min_side,
      skip_bad=data.on_bad_shard == "skip",
      index_folder=data.index_folder,
    )
    for found in (patterns if data.weights else [patterns])
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
    shapes.generate(
      pathlib.Path(config.folder),
      train=config.train,
      val=config.val,
      objects=config.objects,
      image_size=config.image_size,
      seed=config.seed,
    )
  multihost_utils.sync_global_devices("shapes")
