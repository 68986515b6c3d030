"""The published layout of ProLIP, both ways: names and arrays.

A model on the hub is a `config.json` and a `model.safetensors`; a checkpoint of
the official training has the same names behind "module.". Arrays are PyTorch's:
(out, in) of linear layers, (out, in, height, width) of convolutions.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from hyperclip_jax.systems import leaves
from hyperclip_jax.systems.leaves import Leaf
from hyperclip_jax.systems.prolip import hub_config, model
from hyperclip_jax.systems.prolip.hub_config import few
from hyperclip_jax.systems.prolip.options import Options
from hyperclip_jax.systems.task import variable_shapes

State = Mapping[str, np.ndarray]

PREFIX = "module."  # of training checkpoints
OWN = frozenset(
  {"visual.unc_embedding", "text.unc_emb", "logit_scale", "logit_bias"}
)
HEADS = frozenset({"vision_heads", "text_heads"})

TOP = {
  "logit_scale": "logit_scale",
  "logit_bias": "logit_bias",
  "visual.class_embedding": "vision/cls",
  "visual.unc_embedding": "vision/unc",
  "visual.positional_embedding": "vision/position_embed",
  "visual.proj": "vision/proj/kernel",
  "visual.ln_pre.weight": "vision/norm_pre/scale",
  "visual.ln_pre.bias": "vision/norm_pre/bias",
  "visual.ln_post.weight": "vision/norm_post/scale",
  "visual.ln_post.bias": "vision/norm_post/bias",
  "text.cls_emb": "text/cls",
  "text.unc_emb": "text/unc",
  "text.positional_embedding": "text/position_embed",
  "text.token_embedding.weight": "text/token_embed/embedding",
  "text.ln_final.weight": "text/norm/scale",
  "text.ln_final.bias": "text/norm/bias",
}
LINEAR = {
  "visual.uncertainty_proj": "vision/log_var",
  "text.text_projection": "text/proj",
  "text.text_uncertainty_projection": "text/log_var",
}


def matches(names: Iterable[str]) -> bool:
  """Checks whether names of parameters are those of an official ProLIP."""
  return {name.removeprefix(PREFIX) for name in names} >= OWN


def read(
  state: State, config: Mapping[str, Any] | None = None
) -> tuple[Options, dict[str, Any]]:
  """Reads an official model.

  Args:
    state: arrays by official name, maybe behind "module.".
    config: content of its config.json; or {"vision_heads", "text_heads"} alone,
      for arrays without one, whose widths are none of the published ones; or
      None.

  Returns:
    Options, and variables in float32.

  Raises:
    ValueError: names are missing, unexpected or of other shapes, or the config
      asks for something else; the message lists them.
  """
  state = {name.removeprefix(PREFIX): x for name, x in state.items()}
  if not matches(state):
    raise ValueError(f"no ProLIP: no {few(OWN - state.keys())}")
  if config and config.keys() <= HEADS:
    o = hub_config.guessed(state, config)
  else:
    o = (
      hub_config.guessed(state)
      if config is None
      else hub_config.options(config)
    )
  wanted = layout(o)
  missing, unexpected = wanted.keys() - state.keys(), state.keys() - wanted
  if missing or unexpected:
    raise ValueError(
      f"not the parameters of its config: missing {few(missing)}; "
      f"unexpected {few(unexpected)}"
    )
  params = variable_shapes(model.encoder(o))["params"]
  for name, shape in leaves.shapes(wanted, params, o.vision.patch).items():
    if np.shape(state[name]) != shape:
      raise ValueError(
        f"{name} is {np.shape(state[name])}, the model wants {shape}"
      )
  floats = {name: np.asarray(x, np.float32) for name, x in state.items()}
  return o, {"params": leaves.to_tree(wanted, floats)}


def write(o: Options, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Arrays of a model by their official names, in float32.

  Args:
    o: options of the model.
    variables: its variables.

  Raises:
    ValueError: the official code has no such model.
  """
  if o.text_unc_readout != "mean":
    raise ValueError(
      "the official code reads log variances of texts from the mean: it has no "
      f"model of text_unc_readout={o.text_unc_readout!r}"
    )
  found = arrays(o, variables["params"])
  return {name: x.astype(np.float32) for name, x in found.items()}


def arrays(o: Options, tree: Any) -> dict[str, np.ndarray]:
  """Arrays of a tree like the parameters by their official names.

  Args:
    o: options of the model.
    tree: parameters, gradients or moments.
  """
  state = leaves.to_state(
    layout(o), jax.tree.map(np.asarray, dict(tree)), o.vision.patch
  )
  return {name: np.array(x, order="C") for name, x in state.items()}


def layout(o: Options) -> dict[str, Leaf]:
  """Official name -> our leaf."""
  found = {name: Leaf(tuple(path.split("/"))) for name, path in TOP.items()}
  patch = ("vision", "patch_embed", "kernel")
  found["visual.conv1.weight"] = Leaf(patch, turn="patch")
  for name, path in LINEAR.items():
    found |= dict(leaves.dense(name, tuple(path.split("/"))))
  for prefix, tower, depth in (
    ("visual", "vision", o.vision.depth),
    ("text", "text", o.text.depth),
  ):
    name = f"{prefix}.transformer.resblocks"
    path = (tower, "transformer", "blocks")
    found |= dict(leaves.blocks(name, path, leaves.TEXT_BLOCK, depth))
  return found
