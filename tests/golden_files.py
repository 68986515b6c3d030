"""Numbers of the official PyTorch code; see golden/README.md."""

import pathlib

import numpy as np

from hyperclip_jax.checkpoints import torch_checkpoint
from hyperclip_jax.checkpoints.release import Release

FOLDER = pathlib.Path(__file__).parent / "golden"
OBJECTIVES = ("hycoclip", "meru", "clip")
END_TOKEN = 511  # of the mini models, with a vocabulary of 512


def arrays(name: str) -> dict[str, np.ndarray]:
  """A golden .npz."""
  with np.load(FOLDER / f"{name}.npz") as file:
    return dict(file)


def model(name: str, file: str = "init") -> Release:
  """A mini model, from the official checkpoint."""
  path = FOLDER / f"{name}_mini_{file}.pth"
  found = torch_checkpoint.load(path, vision_heads=4, text_heads=2)
  return found._replace(system=name)
