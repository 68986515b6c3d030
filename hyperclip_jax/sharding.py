"""Where arrays live: the mesh, parameters, batches.

The mesh has two axes: `data` splits the batch, `model` splits wide layers.
Axis types are Auto: XLA places the collectives, and the loss over the global
batch needs no word about devices.
"""

import re
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# Suffix of a parameter's path -> its axes (the first is the scanned depth).
# Megatron's split (Shoeybi et al., 2019): columns, then rows.
MODEL_PARALLEL = {
  "qkv/kernel": PartitionSpec(None, None, "model"),
  "qkv/bias": PartitionSpec(None, "model"),
  "out/kernel": PartitionSpec(None, "model", None),
  "fc1/kernel": PartitionSpec(None, None, "model"),
  "fc1/bias": PartitionSpec(None, "model"),
  "fc2/kernel": PartitionSpec(None, "model", None),
}


def make_mesh(model: int = 1) -> Mesh:
  """All devices as (data, model); `model`, a divisor, of them share a layer."""
  shape = (jax.device_count() // model, model)
  return jax.make_mesh(shape, ("data", "model"), (AxisType.Auto,) * 2)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Rows split over `data`."""
  return NamedSharding(mesh, PartitionSpec("data"))


def tree_shardings(mesh: Mesh, tree: Any) -> Any:
  """Shardings of a state: wide layers over `model`, the rest replicated.

  Optimiser moments follow their parameters, as their paths end alike.
  """
  rules = [(re.compile(f"(^|/){k}$"), v) for k, v in MODEL_PARALLEL.items()]

  def shard(path, _):
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    specs = (spec for pattern, spec in rules if pattern.search(name))
    return NamedSharding(mesh, next(specs, PartitionSpec()))

  return jax.tree_util.tree_map_with_path(shard, tree)


def to_global(batch: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
  """This process's rows -> global arrays split over `data`."""
  sharding = batch_sharding(mesh)
  return {
    name: jax.make_array_from_process_local_data(sharding, rows)
    for name, rows in batch.items()
  }


def to_host(tree: Any) -> Any:
  """Whole numpy arrays of global ones; every process must call it."""

  def fetch(leaf: jax.Array) -> np.ndarray:
    if leaf.is_fully_replicated or leaf.is_fully_addressable:
      return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

  return jax.tree.map(fetch, tree)
