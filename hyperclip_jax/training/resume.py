"""Checks that a run is resumed as it was started."""

import json
import pathlib

from ml_collections import ConfigDict

from hyperclip_jax.training import config as config_lib
from hyperclip_jax.training.config import Config
from hyperclip_jax.training.config_tree import leaves

# Options that may change when a run is resumed.
MAY_CHANGE = (
  "checkpoint.",
  "data.held_out",
  "data.index_folder",
  "data.labelled",
  "data.max_bad",
  "data.prefetch",
  "data.slow_seconds",
  "data.shards",
  "data.threads",
  "eval_every",
  "evals.",
  "histograms_every",
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
  "wandb.",
)


def check(config: Config, workdir: pathlib.Path, newest: int) -> None:
  """Checks that a run is resumed with the config that it started with.

  Args:
    config: config given now.
    workdir: folder of the run.
    newest: step of its newest checkpoint; 0 if there is none.

  Raises:
    ValueError: a value has changed that may not; the message lists all.
  """
  if not (workdir / config_lib.FILE).exists():
    return
  before, now = (
    dict(leaves(ConfigDict(json.loads(tree.to_json()))))
    for tree in (config_lib.read(workdir, config.trust_system), config)
  )
  may_change = MAY_CHANGE
  if config.checkpoint.allow_batch_size_change:
    may_change += ("batch_size",)
  if config.checkpoint.allow_steps_change:
    may_change += ("steps",)
    if newest > config.steps:
      raise ValueError(
        f"{workdir} has already taken {newest} steps: config.steps must be at "
        f"least as many, found {config.steps}"
      )
  changed = [
    f"config.{name} was {before.get(name)}, now {now.get(name)}"
    for name in sorted(before.keys() | now.keys())
    if before.get(name) != now.get(name) and not name.startswith(may_change)
  ]
  if any(line.startswith("config.steps ") for line in changed):
    changed.append(
      "the learning rate would follow the schedule of the new length: to allow "
      f"it from here on, give --extend={config.steps} (with launch.*: "
      "--config.checkpoint.allow_steps_change=True)"
    )
  if changed:
    raise ValueError(
      f"{workdir} holds a run with another config; give another --workdir or "
      "the old values:\n  " + "\n  ".join(changed)
    )
