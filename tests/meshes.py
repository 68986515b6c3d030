"""Meshes of some of the test's eight devices."""

import jax
from jax.sharding import Mesh

from hyperclip_jax.training import sharding


def mesh(data: int = 1, model: int = 1) -> Mesh:
  """The first devices, as a run arranges them."""
  return sharding.make_mesh(model, jax.devices()[: data * model])
