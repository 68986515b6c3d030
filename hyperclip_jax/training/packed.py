"""Packs tables and folders of captioned images into shards, to train on.

A run may name a csv, tsv or parquet of image files and captions, or a folder of
images and texts, where it would name shards. They are packed into its workdir
once, as by `hyperclip prepare`.
"""

import os
import pathlib

import jax
from jax.experimental import multihost_utils

from hyperclip_jax import console
from hyperclip_jax.data.prepare import inputs
from hyperclip_jax.data.prepare import run as prepare
from hyperclip_jax.data.prepare.manifest import Options
from hyperclip_jax.data.records import shards
from hyperclip_jax.files import shown
from hyperclip_jax.training.config import Config

FOLDER = "data"  # of the packed shards, in the workdir
SHARD = 2_000  # images of a shard, so that several processes pack them


def packed(config: Config, workdir: pathlib.Path) -> Config:
  """Packs what is no shard yet, on the first process.

  Args:
    config: config with absolute paths.
    workdir: folder of the run.

  Returns:
    Config that names shards only.

  Raises:
    ValueError, OSError, ModuleNotFoundError: as in `prepare.run.prepare`.
  """
  found = config
  for name in ("shards", "held_out"):
    patterns = shards.split(config.data[name])
    loose = {i: p for i, p in enumerate(patterns) if inputs.is_loose(p)}
    for i, pattern in loose.items():
      folder = (workdir / FOLDER / f"{name}_{i}").absolute()
      if jax.process_index() == 0:
        _pack(pattern, folder, config)
      patterns[i] = str(folder)
    if loose:
      found = found.copy_and_resolve_references()
      found.data[name] = ",".join(patterns)
      multihost_utils.sync_global_devices(f"packed {name}")
  return found


def _pack(pattern: str, folder: pathlib.Path, config: Config) -> None:
  console.say(f"packing {shown(pattern)} into {folder}, once")
  options = Options(
    min_side=config.data.min_side,
    shard_size=SHARD,
    upright=config.data.upright,
  )
  try:
    made = prepare.prepare(
      [pattern],
      str(folder),
      options,
      skip_bad=config.data.on_bad_shard == "skip",
      jobs=os.cpu_count() or 1,
    )
  except RuntimeError as error:  # a process died
    raise OSError(f"{shown(pattern)}: {error}") from error
  console.say(prepare.summary(str(folder), made))
