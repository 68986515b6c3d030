"""Opens the records that a run trains on and is evaluated on."""

import contextlib
import os
import pathlib

import jax
from jax.experimental import multihost_utils

from hyperclip_jax import console
from hyperclip_jax.checkpoints import checkpoint
from hyperclip_jax.data.embedded import shapes
from hyperclip_jax.data.records import identity, shards
from hyperclip_jax.data.records.shards import TarSource
from hyperclip_jax.evals.held_out import HELD_OUT, TRAIN_SAMPLE, Sample, load
from hyperclip_jax.files import shown
from hyperclip_jax.training.config import Config


def training(
  config: Config, workdir: pathlib.Path | None = None
) -> list[TarSource]:
  """Opens the training records: the embedded data set's, or `data.shards`.

  Args:
    config: config of the run.
    workdir: folder of the run. A run that resumes leaves out the shards that it
      left out before, even if they can be read by now.

  Returns:
    One source, or one for each pattern if they have weights.

  Raises:
    ValueError, OSError: a shard is bad and may not be left out.
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


def sample(config: Config, sources: list[TarSource] | None = None) -> Sample:
  """Reads the records for evaluation.

  They are those of `data.held_out`, or else the first training records, which
  the sample's name shows.

  Args:
    config: config of the run.
    sources: training records, if they are open already.

  Returns:
    Decoded records.

  Raises:
    ValueError, OSError: a shard is bad, or no record is good.
  """
  source, name = held_out(config), HELD_OUT
  if source is None:
    source, name = (sources or training(config))[0], TRAIN_SAMPLE
  data = config.data
  return load(
    data.labelled, source, data.min_side, name=name, upright=data.upright
  )


def held_out(config: Config) -> TarSource | None:
  """Opens the records of `data.held_out`.

  The training shards may be missing: a run can be evaluated without them.

  Args:
    config: config of the run.

  Returns:
    Source, or None if the config names none.

  Raises:
    ValueError: a shard is also trained on.
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
      f"shards too, such as {shown(both[0])}; take them out of data.shards"
    )
  return _source(config, patterns)


def _identity(path: str) -> tuple[int, int]:
  """Identifies a file, whatever its name or link."""
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


def draw_shapes(config: Config) -> None:
  """Draws the embedded data set if missing, on the first process.

  Args:
    config: section `shapes` of a config.
  """
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
