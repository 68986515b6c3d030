"""Placement of arrays on devices: the mesh, parameters, batches.

The mesh has two axes: `data` splits the batch, `model` splits wide layers. Axis
types are Auto: XLA places the collectives, and the loss over the global batch
is written as if there were one device.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

# number of elements from which a leaf is worth a collective of its own
LARGE = 2**16


def make_mesh(model: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
  """Arranges devices as (data, model).

  Args:
    model: number of devices that share each layer, a divisor of their number.
    devices: devices to arrange; all by default.

  Returns:
    Mesh.
  """
  count = jax.device_count() if devices is None else len(devices)
  shape, axes = (count // model, model), (AxisType.Auto,) * 2
  return jax.make_mesh(shape, ("data", "model"), axes, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns the sharding of a batch, whose rows are split over `data`."""
  return NamedSharding(mesh, PartitionSpec("data"))


def tree_shardings(
  mesh: Mesh,
  tree: Any,
  split: Mapping[str, PartitionSpec],
  fsdp: bool = False,
) -> Any:
  """Returns the shardings of a state: wide layers over `model`, others whole.

  Optimizer moments are sharded like their parameters, whose paths end alike.

  Args:
    mesh: mesh of `make_mesh`.
    tree: state, or its shapes.
    split: end of a parameter's path -> its axes; from `systems.task.Rules`.
    fsdp: whether to split large leaves over `data`, too (`over_data`).

  Returns:
    Tree of `NamedSharding`s.
  """
  rules = [(re.compile(f"(^|/){k}$"), v) for k, v in split.items()]

  def shard(path, leaf):
    name = "/".join(str(getattr(key, "key", key)) for key in path)
    specs = (spec for pattern, spec in rules if pattern.search(name))
    spec = next(specs, PartitionSpec())
    if fsdp:
      spec = over_data(leaf.shape, spec, mesh.shape["data"])
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(shard, tree)


def over_data(
  shape: tuple[int, ...], spec: PartitionSpec, devices: int
) -> PartitionSpec:
  """Splits a leaf's last free dimension over `data` as well.

  XLA gathers each layer where it is used (FSDP, Zhao et al., 2023; stage 3 of
  ZeRO, Rajbhandari et al., 2020). The last dimension of an embedding table is
  the width, so that a lookup moves a batch's rows and not the table.

  Args:
    shape: shape of the leaf.
    spec: its other axes.
    devices: number of devices on the axis `data`.

  Returns:
    The new axes; `spec` itself for leaves below `LARGE`, or if no free
    dimension is a multiple of `devices`.
  """
  axes = [*spec, *[None] * (len(shape) - len(spec))]
  free = [
    i for i, size in enumerate(shape) if axes[i] is None and size % devices == 0
  ]
  if not free or math.prod(shape) < LARGE:
    return spec
  axes[free[-1]] = "data"
  return PartitionSpec(*axes)


def rows_over_data(mesh: Mesh) -> Callable[..., Any]:
  """Context manager that splits layers' outputs by rows over `data`.

  Otherwise XLA may follow parameters that are split over `data`: it would move
  activations, which are larger, and leave the parameters in place. Layers may
  return any tree of arrays with rows in front.

  Args:
    mesh: mesh of `make_mesh`.
  """
  devices = mesh.shape["data"]

  def constrain(x: Any) -> Any:
    if not isinstance(x, jax.Array) or not x.ndim or x.shape[0] % devices:
      return x
    spec = PartitionSpec("data", *[PartitionSpec.UNCONSTRAINED] * (x.ndim - 1))
    return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, spec))

  def intercept(call, args, kwargs, context):
    out = call(*args, **kwargs)
    if context.method_name != "__call__":
      return out
    return jax.tree.map(constrain, out)

  return intercept


def to_global(batch: Any, mesh: Mesh) -> Any:
  """Makes global arrays, split over `data`, from this process's rows.

  Args:
    batch: tree of arrays with rows in front.
    mesh: mesh of `make_mesh`.

  Returns:
    Tree of global arrays.
  """
  put = jax.make_array_from_process_local_data
  sharding = batch_sharding(mesh)
  return jax.tree.map(lambda rows: put(sharding, rows), batch)


def to_host(tree: Any) -> Any:
  """Fetches whole numpy arrays of global ones; every process must call it."""

  def fetch(leaf: jax.Array) -> np.ndarray:
    if leaf.is_fully_replicated or leaf.is_fully_addressable:
      return np.asarray(leaf)
    return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

  return jax.tree.map(fetch, tree)
