"""The mini model of the official code; see golden/prolip/README.md."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from hyperclip_jax.systems.prolip import official
from tests.golden_files import FOLDER, arrays

ROOM = FOLDER / "prolip"
CONFIG = json.loads((ROOM / "mini_config.json").read_text())
MASK, PAD = 120, 1


def state(name="rand"):
  """Official arrays by name."""
  return load_file(ROOM / f"mini_{name}.safetensors")


def model(name="rand"):
  """Options and variables."""
  return official.read(state(name), CONFIG)


def mini():
  return arrays("prolip/mini")


def pixels(golden, dtype=np.float64):
  """Pixels in [0, 1] of all batches, (3, 16, 32, 32, 3)."""
  return golden["images_uint8"].astype(dtype) / 255


def wide(tree):
  """Leaves of a tree in float64."""
  return jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), tree)


def assert_relative(found, wanted, tolerance, message=""):
  """Compares relative to the largest entry."""
  atol = tolerance * np.abs(wanted).max()
  np.testing.assert_allclose(found, wanted, rtol=0, atol=atol, err_msg=message)
