"""Maps parameters of the official code to leaves of ours, and back.

Moments of an optimiser are trees like the parameters and are mapped alike.
"""

from collections.abc import Container, Mapping
from typing import Any

import numpy as np

from hyperclip_jax import systems
from hyperclip_jax.systems import dual_encoder, leaves, task
from hyperclip_jax.systems.leaves import Leaf
from hyperclip_jax.systems.published import Published

State = Mapping[str, np.ndarray]

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
  vision, text = (
    (tower, "transformer", "blocks") for tower in ("vision", "text")
  )
  return (
    scalars(system, o)
    | {
      "visual.cls_token": Leaf(("vision", "cls"), turn="cell"),
      "visual.patch_embed.proj.weight": Leaf((*patch, "kernel"), turn="patch"),
      "visual.patch_embed.proj.bias": Leaf((*patch, "bias")),
    }
    | dict(
      leaves.blocks(
        "visual.blocks", vision, leaves.VISION_BLOCK, o.vision.depth
      )
    )
    | dict(leaves.norm("visual.norm", ("vision", "transformer", "norm")))
    | {
      "textual.posit_embed": Leaf(("text", "position_embed")),
      "textual.token_embed.weight": Leaf(("text", "token_embed", "embedding")),
    }
    | dict(
      leaves.blocks("textual.resblocks", text, leaves.TEXT_BLOCK, o.text.depth)
    )
    | dict(leaves.norm("textual.ln_final", ("text", "transformer", "norm")))
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
  return leaves.to_tree(layout(system, o), state)


def to_state(tree: Any, system: str, o: dual_encoder.Options) -> dict[str, Any]:
  """Converts a tree like our parameters to official arrays.

  Args:
    tree: tree of arrays.
    system: name of the system.
    o: options of the system.

  Returns:
    Arrays by official name.
  """
  return leaves.to_state(layout(system, o), tree, o.vision.patch)


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
  return leaves.shapes(layout(system, o), params, o.vision.patch)
