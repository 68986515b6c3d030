"""Places of published arrays in trees of ours, and the way there and back.

Published arrays are PyTorch's: (out, in) of linear layers, (out, in, height,
width) of convolutions, one array for each block of a tower.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util
from jaxtyping import PyTree

# modules of a timm block, in its order -> ours
VISION_BLOCK = {
  "norm1": "norm1",
  "attn.qkv": "qkv",
  "attn.proj": "out",
  "norm2": "norm2",
  "mlp.fc1": "fc1",
  "mlp.fc2": "fc2",
}
# modules of a block of CLIP's text tower, in its order -> ours
TEXT_BLOCK = {
  "attn.in_proj": "qkv",
  "attn.out_proj": "out",
  "ln_1": "norm1",
  "mlp.c_fc": "fc1",
  "mlp.c_proj": "fc2",
  "ln_2": "norm2",
}


class Leaf(NamedTuple):
  """Place of a published array.

  Attributes:
    path: keys from the root of our tree.
    layer: row of a leaf stacked over depth; None if it is not stacked.
    turn: layout of the array: "same", "transpose", "conv", "patch" (a
      convolution that is a linear layer here), "row" or "cell" (one or two
      leading axes of one).
  """

  path: tuple[str, ...]
  layer: int | None = None
  turn: str = "same"


Places = Iterator[tuple[str, Leaf]]
Layout = Mapping[str, Leaf]


def to_tree(layout: Layout, state: Mapping[str, Any]) -> dict[str, Any]:
  """Converts published arrays to a tree of ours.

  Args:
    layout: place of each array.
    state: arrays by published name.

  Returns:
    Tree of arrays.
  """
  flat: dict[tuple[str, ...], Any] = {}
  for name, leaf in layout.items():
    array = _turn(state[name], leaf.turn)
    if leaf.layer is None:
      flat[leaf.path] = array
    else:
      flat.setdefault(leaf.path, {})[leaf.layer] = array
  for path, value in flat.items():
    if isinstance(value, dict):
      flat[path] = np.stack([value[layer] for layer in sorted(value)])
  return traverse_util.unflatten_dict(flat)


def to_state(layout: Layout, tree: PyTree, patch: int) -> dict[str, Any]:
  """Converts a tree of ours to published arrays.

  Args:
    layout: place of each array.
    tree: tree of arrays, such as parameters, gradients or moments.
    patch: side of a patch in pixels.

  Returns:
    Arrays by published name, in the order of the layout.
  """
  flat: Any = traverse_util.flatten_dict(dict(tree))
  state = {}
  for name, leaf in layout.items():
    array = flat[leaf.path]
    if leaf.layer is not None:
      array = array[leaf.layer]
    state[name] = _turn_back(array, leaf.turn, patch)
  return state


def shapes(
  layout: Layout, tree: PyTree, patch: int
) -> dict[str, tuple[int, ...]]:
  """Computes the shape of every published array without allocating it.

  Args:
    layout: place of each array.
    tree: tree of `jax.ShapeDtypeStruct`s, as of `task.variable_shapes`.
    patch: side of a patch in pixels.

  Returns:
    Published name -> shape.
  """
  state = jax.eval_shape(lambda tree: to_state(layout, tree, patch), tree)
  return {name: leaf.shape for name, leaf in state.items()}


def blocks(
  prefix: str, path: tuple[str, ...], modules: Mapping[str, str], depth: int
) -> Places:
  """Yields the places of a tower's blocks.

  Args:
    prefix: published name of the blocks.
    path: keys of ours.
    modules: published module of a block -> ours.
    depth: number of blocks.
  """
  for layer in range(depth):
    for theirs, ours in modules.items():
      name = f"{prefix}.{layer}.{theirs}"
      if ours.startswith("norm"):
        yield from norm(name, (*path, ours), layer)
      else:
        # nn.MultiheadAttention writes in_proj_weight, all else .weight
        separator = "_" if name.endswith("in_proj") else "."
        yield from dense(name, (*path, ours), layer, separator)


def norm(name: str, path: tuple[str, ...], layer: int | None = None) -> Places:
  """Yields the places of a norm's scale and bias.

  Args:
    name: published name of the module.
    path: keys of ours.
    layer: row of leaves stacked over depth.
  """
  yield f"{name}.weight", Leaf((*path, "scale"), layer)
  yield f"{name}.bias", Leaf((*path, "bias"), layer)


def dense(
  name: str,
  path: tuple[str, ...],
  layer: int | None = None,
  separator: str = ".",
) -> Places:
  """Yields the places of a linear layer's kernel and bias.

  Args:
    name: published name of the module.
    path: keys of ours.
    layer: row of leaves stacked over depth.
    separator: character between the name and "weight".
  """
  kernel = Leaf((*path, "kernel"), layer, "transpose")
  yield f"{name}{separator}weight", kernel
  yield f"{name}{separator}bias", Leaf((*path, "bias"), layer)


def _turn(array: Any, turn: str) -> Any:
  match turn:
    case "conv":
      return array.transpose(2, 3, 1, 0)
    case "patch":
      return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
    case "row":
      return array[0]
    case "cell":
      return array[0, 0]
  return array.T if turn == "transpose" else array


def _turn_back(array: Any, turn: str, patch: int) -> Any:
  match turn:
    case "conv":
      return array.transpose(3, 2, 0, 1)
    case "patch":
      if len(array) != patch * patch * 3:
        raise ValueError(
          f"a patch of {patch} pixels has {patch * patch * 3:,} inputs in "
          f"official checkpoints, and {len(array):,} here (vision.stem); save "
          "a release instead, with save_pretrained"
        )
      return array.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)
    case "row":
      return array[None]
    case "cell":
      return array[None, None]
  return array.T if turn == "transpose" else array
