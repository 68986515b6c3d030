"""Names of the published code -> leaves of our variables.

The published code has no name for the moving average of BYOLIP's model.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

# Published modules of a block -> ours.
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
  """Place of a published array in our variables.

  Attributes:
    path: keys from the root, the collection first.
    layer: row of a leaf stacked over depth; None if it is not stacked.
    turn: "same", "transpose", "conv", "patch" or "first": layout of the array;
      "first" has leading axes of one.
  """

  path: tuple[str, ...]
  layer: int | None = None
  turn: str = "same"


Layout = Iterator[tuple[str, Leaf]]


def resnet(blocks: tuple[int, ...], at: tuple[str, ...] = ()) -> Layout:
  """Leaves of `nn.resnet.ResNet`.

  Args:
    blocks: number of blocks of each stage.
    at: keys of the tower in the variables.
  """
  yield "conv1.weight", Leaf(("params", *at, "conv1", "kernel"), turn="conv")
  yield from batch_norm("bn1", (*at, "bn1"))
  for stage, count in enumerate(blocks, 1):
    for block in range(count):
      name, path = f"layer{stage}.{block}", (*at, f"layer{stage}_{block}")
      modules = [(f"{kind}{i}",) * 2 for i in (1, 2, 3) for kind in KINDS]
      if block == 0:
        modules += [("downsample.0", "shortcut"), SHORTCUT_NORM]
      for theirs, ours in modules:
        if "bn" in ours:
          yield from batch_norm(f"{name}.{theirs}", (*path, ours))
        else:
          kernel = ("params", *path, ours, "kernel")
          yield f"{name}.{theirs}.weight", Leaf(kernel, turn="conv")


KINDS = ("conv", "bn")
SHORTCUT_NORM = ("downsample.1", "shortcut_bn")


def vit(depth: int, at: tuple[str, ...] = ()) -> Layout:
  """Leaves of `nn.vit.ViT` with learned positions.

  Args:
    depth: number of blocks.
    at: keys of the tower in the variables.
  """
  root = ("params", *at)
  yield "cls_token", Leaf((*root, "cls"), turn="first")
  yield "pos_embed", Leaf((*root, "position_embed"), turn="first")
  patch = (*root, "patch_embed")
  yield "patch_embed.proj.weight", Leaf((*patch, "kernel"), turn="patch")
  yield "patch_embed.proj.bias", Leaf((*patch, "bias"))
  yield from _blocks("blocks", root, VISION_BLOCK, depth)
  yield from _norm("norm", (*root, "transformer", "norm"))


def text(depth: int, at: tuple[str, ...] = ()) -> Layout:
  """Leaves of `nn.text.TextTransformer`.

  Args:
    depth: number of blocks.
    at: keys of the tower in the variables.
  """
  root = ("params", *at)
  yield "positional_embedding", Leaf((*root, "position_embed"))
  table = (*root, "token_embed", "embedding")
  yield "token_embedding.weight", Leaf(table)
  yield from _blocks("transformer.resblocks", root, TEXT_BLOCK, depth)
  yield from _norm("ln_final", (*root, "transformer", "norm"))


def dense(name: str, at: tuple[str, ...], bias: bool = True) -> Layout:
  """Leaves of a linear layer."""
  kernel = Leaf(("params", *at, "kernel"), turn="transpose")
  yield f"{name}.weight", kernel
  if bias:
    yield f"{name}.bias", Leaf(("params", *at, "bias"))


def batch_norm(name: str, at: tuple[str, ...], affine: bool = True) -> Layout:
  """Leaves of a BatchNorm, with its running statistics."""
  if affine:
    yield from _norm(name, ("params", *at))
  yield f"{name}.running_mean", Leaf(("batch_stats", *at, "mean"))
  yield f"{name}.running_var", Leaf(("batch_stats", *at, "var"))


def to_variables(
  layout: Mapping[str, Leaf], state: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """Converts published arrays to a tree of variables."""
  flat: dict[tuple[str, ...], Any] = {}
  for name, leaf in layout.items():
    array = _turn(np.asarray(state[name]), leaf.turn)
    if leaf.layer is None:
      flat[leaf.path] = array
    else:
      flat.setdefault(leaf.path, {})[leaf.layer] = array
  for path, value in flat.items():
    if isinstance(value, dict):
      flat[path] = np.stack([value[layer] for layer in sorted(value)])
  return traverse_util.unflatten_dict(flat)


def to_state(
  layout: Mapping[str, Leaf], variables: Mapping[str, Any], patch: int
) -> dict[str, np.ndarray]:
  """Converts a tree of variables to published arrays."""
  flat: Any = traverse_util.flatten_dict(dict(variables))
  state = {}
  for name, leaf in layout.items():
    array = np.asarray(flat[leaf.path])
    if leaf.layer is not None:
      array = array[leaf.layer]
    last = name.rpartition(".")[2]
    state[name] = _turn_back(array, leaf.turn, patch, last)
  return state


def _turn(array: np.ndarray, turn: str) -> np.ndarray:
  if turn == "conv":
    return array.transpose(2, 3, 1, 0)
  if turn == "patch":
    return array.transpose(2, 3, 1, 0).reshape(-1, len(array))
  if turn == "first":
    return array[0, 0] if array.shape[1] == 1 else array[0]
  return array.T if turn == "transpose" else array


def _turn_back(
  array: np.ndarray, turn: str, patch: int, name: str
) -> np.ndarray:
  if turn == "conv":
    return array.transpose(3, 2, 0, 1)
  if turn == "patch":
    return array.reshape(patch, patch, 3, -1).transpose(3, 2, 0, 1)
  if turn == "first":
    return array[None, None] if name == "cls_token" else array[None]
  return array.T if turn == "transpose" else array


def _blocks(
  prefix: str,
  root: tuple[str, ...],
  modules: Mapping[str, str],
  depth: int,
) -> Layout:
  for layer in range(depth):
    for theirs, ours in modules.items():
      name = f"{prefix}.{layer}.{theirs}"
      path = (*root, "transformer", "blocks", ours)
      if ours.startswith("norm"):
        yield from _norm(name, path, layer)
      else:
        # nn.MultiheadAttention writes in_proj_weight, all else .weight
        separator = "_" if name.endswith("in_proj") else "."
        kernel = Leaf((*path, "kernel"), layer, "transpose")
        yield f"{name}{separator}weight", kernel
        yield f"{name}{separator}bias", Leaf((*path, "bias"), layer)


def _norm(name: str, path: tuple[str, ...], layer: int | None = None) -> Layout:
  yield f"{name}.weight", Leaf((*path, "scale"), layer)
  yield f"{name}.bias", Leaf((*path, "bias"), layer)
