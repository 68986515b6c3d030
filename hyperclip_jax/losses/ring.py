"""The ring of a loss over all pairs, in memory that is linear in the batch.

Rows stay on their device; columns travel round the devices, and a device sees
a tile of them at a time. The gradient of a column travels with it.

  Liu et al., Ring Attention with Blockwise Transformers, 2023.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float, Int

# Logits of a tile at most, of which ten or so arrays are alive at once: 16 MiB
# each in float32. A tile has all rows of its device, so few of its columns.
TILE = 2**22

AXIS = "data"  # of the mesh, that rows are split over
ROWS, ALL = PartitionSpec(AXIS), PartitionSpec()


class Columns(NamedTuple):
  """A device's columns, tiles of them, or one tile.

  Attributes:
    y: points.
    number: in the global batch, from 1; 0 fills up the last tile.
    weight: logs of their counts; None for once each.
    dy: their gradients so far; None in the forward pass.
  """

  y: Float[Array, "*tiles width dim"]
  number: Int[Array, "*tiles width"]
  weight: Float[Array, "*tiles width"] | None = None
  dy: Float[Array, "*tiles width dim"] | None = None


def columns_of(y, row_count, weight=None):
  """The number of each row's match, and the columns of this device."""
  first = 1 + jax.lax.axis_index(AXIS) * len(y)
  number = first + jnp.arange(len(y), dtype=jnp.int32)
  return jnp.repeat(number, row_count // len(y)), Columns(y, number, weight)


def tiles(columns, row_count):
  """Columns (b, ...) as tiles, (tiles, width, ...), filled up with zeros."""
  tiles = -(-row_count * len(columns.y) // TILE)
  padding = -len(columns.y) % tiles

  def split(values):
    widths = [(0, padding)] + [(0, 0)] * (values.ndim - 1)
    return jnp.pad(values, widths).reshape(tiles, -1, *values.shape[1:])

  return jax.tree.map(split, columns)


def negative(matches, tile):
  """(rows, width) bools: a column that is neither the match nor filler."""
  number = tile.number[None, :]
  return (number != matches[:, None]) & (number > 0)


def over_all_columns(add, carry, columns, mesh):
  """Folds every device's columns into the carry, tile by tile.

  Args:
    add: (carry, tile) -> carry, and the tile's gradients so far.
    carry: what stays on the device.
    columns: what travels: after as many passes as devices it is home again.
    mesh: of the devices.

  Returns:
    The carry and the columns.
  """
  devices = mesh.shape[AXIS]
  onward = [(i, (i + 1) % devices) for i in range(devices)]

  def visit(state, _):
    carry, columns = state
    carry, dy = jax.lax.scan(add, carry, columns)
    columns = columns._replace(dy=dy)
    return (carry, jax.lax.ppermute(columns, AXIS, onward)), None

  if devices == 1:  # the columns stay, and are not copied
    return visit((carry, columns), None)[0]
  return jax.lax.scan(visit, (carry, columns), length=devices)[0]


def on_each_device(mesh, in_specs, out_specs) -> Callable[..., Any]:
  """shard_map; sums over devices are written out, outside the loops."""
  return functools.partial(
    jax.shard_map,
    mesh=mesh,
    in_specs=in_specs,
    out_specs=out_specs,
    check_vma=False,
  )
