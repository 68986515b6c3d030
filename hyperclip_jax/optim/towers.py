"""Learning rates by tower and layer: locked towers, layer-wise decay."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jaxtyping import PyTree

BLOCKS = "blocks"  # key of leaves whose first axis is the depth


def outside(params: PyTree, tower: str) -> PyTree:
  """Marks the parameters that are not of a tower.

  Args:
    params: parameter tree.
    tower: top-level key of the tower.

  Returns:
    Tree of booleans.

  Examples:
    >>> outside({"vision": {"cls": 0}, "curv": 0}, "vision")
    {'curv': True, 'vision': {'cls': False}}
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[0].key != tower, params
  )


def layer_factors(
  params: PyTree, towers: tuple[str, ...], decay: float
) -> PyTree:
  """Computes factors of the learning rate that fall from the last layer on.

  A tower's last block has `decay`, the one before it `decay`^2, and what comes
  before its D blocks `decay`^(D + 1). Everything else has 1 (Clark et al.,
  ELECTRA, 2020; Bao et al., BEiT, 2022).

  Args:
    params: parameter tree, or its shapes.
    towers: top-level keys of the towers.
    decay: factor from one layer to the next, at most 1.

  Returns:
    Tree of float32 arrays that broadcast to the parameters.

  Examples:
    >>> tower = {
    ...   "cls": jnp.zeros(3),
    ...   "transformer": {"blocks": {"bias": jnp.zeros((2, 5))},
    ...                   "norm": {"scale": jnp.ones(3)}},
    ... }
    >>> found = layer_factors({"vision": tower}, ("vision",), 0.5)["vision"]
    >>> found["transformer"]["blocks"]["bias"].ravel().tolist()
    [0.25, 0.5]
    >>> float(found["cls"]), float(found["transformer"]["norm"]["scale"])
    (0.125, 1.0)
  """
  flat: Any = traverse_util.flatten_dict(params)
  found = {  # tower -> path of the module with its blocks, and their number
    path[0]: (path[: path.index(BLOCKS)], leaf.shape[0])
    for path, leaf in flat.items()
    if BLOCKS in path
  }

  def factor(path: tuple[str, ...], leaf: Any) -> Any:
    if path[0] not in towers or path[0] not in found:
      return jnp.float32(1)
    module, depth = found[path[0]]
    if BLOCKS in path:
      powers = depth - jnp.arange(depth, dtype=jnp.float32)
      return (decay**powers).reshape(-1, *[1] * (len(leaf.shape) - 1))
    beside_blocks = path[: len(module)] == module
    return jnp.float32(1 if beside_blocks else decay ** (depth + 1))

  return traverse_util.unflatten_dict(
    {path: factor(path, leaf) for path, leaf in flat.items()}
  )


def by_layer(
  towers: tuple[str, ...], decay: float
) -> optax.GradientTransformation:
  """Multiplies updates by `layer_factors`.

  Args:
    towers: top-level keys of the towers.
    decay: factor from one layer to the next.

  Returns:
    Gradient transformation without a state, to be chained after an optimizer.
  """

  def update(updates: PyTree, params: PyTree = None) -> PyTree:
    del params
    factors = layer_factors(updates, towers, decay)
    return jax.tree.map(
      lambda update, factor: update * factor, updates, factors
    )

  return optax.stateless(update)
