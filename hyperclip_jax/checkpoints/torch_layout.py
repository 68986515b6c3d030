"""Maps official PyTorch parameters to leaves of our tree, and back.

The moments of an optimiser have the structure of the parameters and are mapped
in the same way.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from hyperclip_jax.systems.dual_encoder import (
  SCALAR_BOUNDS,
  DualEncoder,
  param_shapes,
)

State = Mapping[str, np.ndarray]

# Official module of a block -> ours, in the official order.
VISION_BLOCK = {
  "norm1": "norm1",
  "attn.qkv": "qkv",
  "attn.proj": "out",
  "norm2": "norm2",
  "mlp.fc1": "fc1",
  "mlp.fc2": "fc2",
}
TEXT_BLOCK = {
  "attn.in_proj": "qkv",
  "attn.out_proj": "out",
  "ln_1": "norm1",
  "mlp.c_fc": "fc1",
  "mlp.c_proj": "fc2",
  "ln_2": "norm2",
}


class Leaf(NamedTuple):
  """Place of an official parameter in our tree.

  Attributes:
    path: keys from the root of the tree.
    layer: index along the depth axis of a stacked leaf; None if not stacked.
    turn: conversion of the array: "same", "transpose", "cls" or "patch".
  """

  path: tuple[str, ...]
  layer: int | None = None
  turn: str = "same"


def layout(model: DualEncoder) -> dict[str, Leaf]:
  """Returns official name -> leaf, in the order of the official state dict."""
  scalars = [n for n in SCALAR_BOUNDS if model.hyperbolic or n == "logit_scale"]
  patch = ("vision", "patch_embed")
  return (
    {name: Leaf((name,)) for name in scalars}
    | {
      "visual.cls_token": Leaf(("vision", "cls"), turn="cls"),
      "visual.patch_embed.proj.weight": Leaf((*patch, "kernel"), turn="patch"),
      "visual.patch_embed.proj.bias": Leaf((*patch, "bias")),
    }
    | dict(_blocks("vision", "visual.blocks", VISION_BLOCK, model.vision.depth))
    | dict(_norm("visual.norm", ("vision", "transformer", "norm")))
    | {
      "textual.posit_embed": Leaf(("text", "position_embed")),
      "textual.token_embed.weight": Leaf(("text", "token_embed", "embedding")),
    }
    | dict(_blocks("text", "textual.resblocks", TEXT_BLOCK, model.text.depth))
    | dict(_norm("textual.ln_final", ("text", "transformer", "norm")))
    | {
      f"{name}.weight": Leaf((name, "kernel"), turn="transpose")
      for name in ("visual_proj", "textual_proj")
    }
  )


def to_tree(state: State, model: DualEncoder) -> dict[str, Any]:
  """Converts official arrays to a tree with the structure of our parameters.

  Args:
    state: official arrays by name.
    model: dual encoder that they belong to.

  Returns:
    Nested dict of arrays; blocks are stacked along a leading depth axis.

  Raises:
    KeyError: an official name is missing.
  """
  flat: dict[tuple[str, ...], Any] = {}
  for name, leaf in layout(model).items():
    array = _turn(state[name], leaf.turn)
    if leaf.layer is None:
      flat[leaf.path] = array
    else:
      flat.setdefault(leaf.path, []).append(array)
  stacked = {
    path: np.stack(value) if isinstance(value, list) else value
    for path, value in flat.items()
  }
  return traverse_util.unflatten_dict(stacked)


def to_state(tree: Any, model: DualEncoder) -> dict[str, Any]:
  """Converts a tree with the structure of our parameters to official arrays.

  Args:
    tree: nested dict of arrays.
    model: dual encoder that they belong to.

  Returns:
    Official arrays by name, in the order of the official state dict.
  """
  flat: Any = traverse_util.flatten_dict(tree)
  state = {}
  for name, leaf in layout(model).items():
    array = flat[leaf.path]
    if leaf.layer is not None:
      array = array[leaf.layer]
    state[name] = _turn_back(array, leaf.turn, model.vision.patch)
  return state


def shapes(model: DualEncoder) -> dict[str, tuple[int, ...]]:
  """Returns official name -> shape of each parameter, without allocating."""
  state = jax.eval_shape(
    lambda tree: to_state(tree, model), param_shapes(model)
  )
  return {name: leaf.shape for name, leaf in state.items()}


def _turn(array: Any, turn: str) -> Any:
  if turn == "patch":
    return array.transpose(2, 3, 1, 0).reshape(-1, array.shape[0])
  if turn == "cls":
    return array.reshape(-1)
  return array.T if turn == "transpose" else array


def _turn_back(array: Any, turn: str, patch: int) -> Any:
  if turn == "patch":
    return array.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)
  if turn == "cls":
    return array[None, None]
  return array.T if turn == "transpose" else array


def _blocks(
  tower: str, prefix: str, modules: Mapping[str, str], depth: int
) -> Iterator[tuple[str, Leaf]]:
  for layer in range(depth):
    for official, ours in modules.items():
      name = f"{prefix}.{layer}.{official}"
      path = (tower, "transformer", "blocks", ours)
      if ours.startswith("norm"):
        yield from _norm(name, path, layer)
      else:
        # nn.MultiheadAttention has in_proj_weight, other modules .weight
        separator = "_" if name.endswith("in_proj") else "."
        kernel = Leaf((*path, "kernel"), layer, "transpose")
        yield f"{name}{separator}weight", kernel
        yield f"{name}{separator}bias", Leaf((*path, "bias"), layer)


def _norm(
  name: str, path: tuple[str, ...], layer: int | None = None
) -> Iterator[tuple[str, Leaf]]:
  yield f"{name}.weight", Leaf((*path, "scale"), layer)
  yield f"{name}.bias", Leaf((*path, "bias"), layer)
