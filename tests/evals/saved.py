"""An untrained model in a workdir, as training leaves it."""

import pathlib

import jax

from hyperclip_jax.checkpoints import release
from hyperclip_jax.checkpoints.checkpoint import Checkpoints
from hyperclip_jax.training import build, sharding
from hyperclip_jax.training import config as config_lib
from tests import small


def model(folder: pathlib.Path, system: str = "hycoclip") -> pathlib.Path:
  """Writes it to a new folder, and returns that."""
  config = small.config(system)
  folder.mkdir()
  (folder / config_lib.FILE).write_text(config.to_json())
  release.describe(folder, system, config_lib.options(config))
  task = build.task(config, sharding.make_mesh())
  with Checkpoints(folder) as checkpoints:
    meta = {"examples_seen": 0, "config": {}}
    checkpoints.save(jax.jit(build.init(config, task))(), meta)
  return folder
