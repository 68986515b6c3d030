"""Maps parameters of the official code to leaves of ours, and back.

Moments of an optimiser are trees like the parameters and are mapped alike.
"""

from collections.abc import Container, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import traverse_util

from hyperclip_jax import systems
from hyperclip_jax.systems import dual_encoder, task
from hyperclip_jax.systems.published import Published

State = Mapping[str, np.ndarray]

# modules of a block in the official order -> ours
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
  """Location of an official parameter in our tree.

  Attributes:
    path: keys from the root.
    layer: row in a leaf stacked over depth; None for a leaf that is not
      stacked.
    turn: change of layout: "same", "transpose", "cls" or "patch".
  """

  path: tuple[str, ...]
  layer: int | None = None
  turn: str = "same"


SYSTEMS = ("clip", "hycoclip", "meru")  # of the official code


def published(system: str) -> Published | None:
  """Returns how a system's files differ from HyCoCLIP's, None if it says not.

  Args:
    system: name of the system.
  """
  return getattr(systems.find(system), "published", None)


def derived(names: Container[str]) -> str | None:
  """Finds the successor of HyCoCLIP that a checkpoint is of, by its mark.

  Args:
    names: official names in the checkpoint.

  Returns:
    Name of the system; None if it has no successor's mark.
  """
  for system in systems.names():
    own = published(system)
    if own and own.mark in names:
      return system
  return None


def scalars(system: str, o: dual_encoder.Options) -> dict[str, Leaf]:
  """Maps the official names of a system's scalar parameters to our leaves.

  Args:
    system: name of the system.
    o: options of the system.

  Returns:
    Name -> leaf, in the official order.

  Raises:
    ValueError: no official code has such a system.
  """
  if system == "clip":
    return {name: Leaf((name,)) for name in dual_encoder.LOGIT_SCALE}
  if system in SYSTEMS:
    names = dual_encoder.hyperbolic_scalars(o.embed_dim)
    return {name: Leaf((name,)) for name in names}
  own = published(system)
  if own is None:
    raise ValueError(
      f"the official code has no {system}: its .pth files are of "
      f"{', '.join(SYSTEMS)}"
    )
  return {
    name: Leaf((ours[0],), ours[1])
    for name, ours in own.scalars(o).items()
    if ours is not None
  }


def unused(system: str, o: dual_encoder.Options) -> list[str]:
  """Lists scalars that the official code stores and does not use.

  Args:
    system: name of the system.
    o: options of the system.

  Returns:
    Names of the scalars.
  """
  own = published(system)
  return (
    [n for n, ours in own.scalars(o).items() if ours is None] if own else []
  )


def layout(system: str, o: dual_encoder.Options) -> dict[str, Leaf]:
  """Maps each official name to our leaf.

  Args:
    system: name of the system.
    o: options of the system.

  Returns:
    Name -> leaf, in the order of the official state dict.
  """
  patch = ("vision", "patch_embed")
  return (
    scalars(system, o)
    | {
      "visual.cls_token": Leaf(("vision", "cls"), turn="cls"),
      "visual.patch_embed.proj.weight": Leaf((*patch, "kernel"), turn="patch"),
      "visual.patch_embed.proj.bias": Leaf((*patch, "bias")),
    }
    | dict(_blocks("vision", "visual.blocks", VISION_BLOCK, o.vision.depth))
    | dict(_norm("visual.norm", ("vision", "transformer", "norm")))
    | {
      "textual.posit_embed": Leaf(("text", "position_embed")),
      "textual.token_embed.weight": Leaf(("text", "token_embed", "embedding")),
    }
    | dict(_blocks("text", "textual.resblocks", TEXT_BLOCK, o.text.depth))
    | dict(_norm("textual.ln_final", ("text", "transformer", "norm")))
    | {
      f"{name}.weight": Leaf((name, "kernel"), turn="transpose")
      for name in ("visual_proj", "textual_proj")
    }
  )


def to_tree(
  state: State, system: str, o: dual_encoder.Options
) -> dict[str, Any]:
  """Converts official arrays to a tree like our parameters.

  Args:
    state: arrays by official name.
    system: name of the system.
    o: options of the system.

  Returns:
    Tree of arrays.
  """
  flat: dict[tuple[str, ...], Any] = {}
  for name, leaf in layout(system, o).items():
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


def to_state(tree: Any, system: str, o: dual_encoder.Options) -> dict[str, Any]:
  """Converts a tree like our parameters to official arrays.

  Args:
    tree: tree of arrays.
    system: name of the system.
    o: options of the system.

  Returns:
    Arrays by official name.
  """
  flat: Any = traverse_util.flatten_dict(tree)
  state = {}
  for name, leaf in layout(system, o).items():
    array = flat[leaf.path]
    if leaf.layer is not None:
      array = array[leaf.layer]
    state[name] = _turn_back(array, leaf.turn, o.vision.patch)
  return state


def shapes(system: str, o: dual_encoder.Options) -> dict[str, tuple[int, ...]]:
  """Computes the shape of every official parameter without allocating it.

  Args:
    system: name of the system.
    o: options of the system.

  Returns:
    Official name -> shape.
  """
  encoder = systems.find(system).encoder(o)
  params = task.variable_shapes(encoder)["params"]
  state = jax.eval_shape(lambda tree: to_state(tree, system, o), params)
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
