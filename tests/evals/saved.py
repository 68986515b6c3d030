"""An untrained model in a workdir, as training leaves it."""

import pathlib

from hyperclip_jax.checkpoints.checkpoint import Checkpoints
from hyperclip_jax.checkpoints.release import CONFIG_FILE
from hyperclip_jax.systems import build
from tests import small


def model(folder: pathlib.Path, objective: str = "hycoclip") -> pathlib.Path:
  """Writes it to a new folder, and returns that."""
  config = small.config(objective)
  folder.mkdir()
  (folder / CONFIG_FILE).write_text(config.to_json())
  with Checkpoints(folder) as checkpoints:
    checkpoints.save(build.init(config)(), {"examples_seen": 0, "config": {}})
  return folder
